"""Pearson's correlation of two scores of a protocol over rows, such as that of EPG with the sizes of boxes.

Rao et al., ICCV 2023, report it for EPG and the pixels of the boxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from xaibench.analysis.bootstrap import bootstrap_means, studentised_tail
from xaibench.analysis.scored_board import ScoredBoard
from xaibench.analysis.scores import NO_CLASS, of_metric
from xaibench.errors import XaibenchError
from xaibench.presentation import Presentable

COLUMNS = ("method", "r", "ci_low", "ci_high", "n_rows", "n_images", "n_undefined", "kind")
PAIRED = ("cell", "image_id", "target", "unit", "instance")


@dataclass(frozen=True)
class Correlation(Presentable):
    """Pearson's r of the board's metric with another, per method.

    table: one row per method, in the order of the board, with `COLUMNS`: r in [-1, 1] (NaN where either score is
    constant, or fewer than two rows have both) with ci_low and ci_high (NaN also where r is 1 or -1), n_rows with both
    scores, n_images that they are of, n_undefined rows left out as either score is undefined. notes: the board's, and
    resamples without an r.
    """

    layout: ClassVar[str] = "correlation"

    metric: str
    table: pd.DataFrame
    board: ScoredBoard
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """The board's context and the two scores, in one line."""
        return f"{self.board.title} · {self.board.metric} with {self.metric}"


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation in [-1, 1] of x with y, (rows,) each, over rows where both are finite.

    NaN with fewer than two such rows, or where either is constant.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    if len(x) < 2 or not np.ptp(x) or not np.ptp(y):
        return np.nan
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))


def correlation(
    board: ScoredBoard, metric: str, resamples: int = 2000, seed: int = 0, *, per_root: bool = False
) -> Correlation:
    """Pearson's r of the board's metric with another one that the protocol stores, per method.

    An undefined map has no score here, whatever it costs on the board: its rows are left out and counted. Intervals:
    images are resampled with all their rows, the same for every method. per_root: the board's metric is divided by the
    root of the other one, and rows where that is not positive are left out. Raises XaibenchError for a metric that is
    not stored, and for the board's own.
    """
    source = board.require_source()
    metric = of_metric(source.rows, board.context["protocol"], metric)
    if metric == board.metric:
        raise XaibenchError(f"{metric} is the board's own metric; correlate it with another one")
    both = both_metrics(board, metric, per_root=per_root)
    rows, lost = [], []
    for name, kind in zip(board.table["method"], board.table["kind"], strict=True):
        own = both[both["method"] == name]
        good = own.dropna(subset=["x", "y"])
        r = pearson(good["x"].to_numpy(), good["y"].to_numpy())
        low, high, without = _interval(good, source.images, resamples, seed) if np.isfinite(r) else (np.nan, np.nan, 0)
        rows.append((name, r, low, high, len(good), good["image_id"].nunique(), len(own) - len(good), kind))
        lost += [f"{name} {without}"] if without else []
    notes = [f"resamples without an r, out of {resamples}: {', '.join(lost)}"] if lost else []
    return Correlation(metric, pd.DataFrame(rows, columns=list(COLUMNS)), board, (*board.notes, *notes))


def both_metrics(board: ScoredBoard, metric: str, *, per_root: bool = False) -> pd.DataFrame:
    """One row per method, image and question: method, image_id, x (the board's metric, divided by the root of the other
    one where per_root says so) and y (the other metric), NaN where undefined."""
    source = board.require_source()
    both = _both(source.rows, board.metric, metric)
    if per_root:
        both["x"] = both["x"] / np.sqrt(both["y"].where(both["y"] > 0))
    return both.assign(method=both["cell"].map({cell.key: cell.method_name for cell in source.cells}))


def _both(rows: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """One row for each question that either metric has, with the scores x and y, NaN where undefined."""
    rows = rows.assign(target=rows["target"].fillna(NO_CLASS).astype("int64"))
    # Instances of one class in an image share all other columns: the n-th of one metric is the n-th of the other.
    rows["instance"] = rows.groupby(["cell", "image_id", "target", "unit", "metric"], sort=False).cumcount()
    x, y = (
        rows.loc[rows["metric"] == name, [*PAIRED, "score"]].rename(columns={"score": letter})
        for name, letter in ((first, "x"), (second, "y"))
    )
    return x.merge(y, how="outer", on=list(PAIRED))


def _interval(rows: pd.DataFrame, images: tuple[str, ...], resamples: int, seed: int) -> tuple[float, float, int]:
    """Ends of the interval of r over images, NaN where r is 1 or -1, and how many resamples have no r; rows have one.

    The studentised bootstrap of Fisher's z = artanh(r), whose variance is that of its linear part.
    """
    x, y = (rows[name].to_numpy() - rows[name].mean() for name in "xy")  # r does not change, rounding hurts less
    parts = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)  # r is made of sums of these
    sums = pd.DataFrame(parts).groupby(rows["image_id"].to_numpy()).sum().reindex(images, fill_value=0.0).to_numpy()
    z, deviation = _fisher(sums.mean(axis=0)[None], _products(sums).mean(axis=0)[None])
    drawn = bootstrap_means(np.hstack([sums, _products(sums)]), resamples, seed)
    z_drawn, deviation_drawn = _fisher(drawn[:, :6], drawn[:, 6:])
    without = np.flatnonzero(np.isnan(z_drawn))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (z_drawn - z) / deviation_drawn
        t[np.isinf(z_drawn)] = z_drawn[np.isinf(z_drawn)]
        t[without] = np.where(np.arange(len(without)) % 2, np.inf, -np.inf)  # either end, as nothing is known of them
        tail = studentised_tail(len(images))
        ends = np.quantile(t, 1 - tail, method="higher"), np.quantile(t, tail, method="lower")
        low, high = (float(np.tanh(z[0] - end * deviation[0])) for end in ends)
    return low, high, len(without)


def _products(sums: np.ndarray) -> np.ndarray:
    """Products of the six sums of each image, two by two, (images, 36)."""
    return (sums[:, :, None] * sums[:, None]).reshape(len(sums), -1)


def _fisher(means: np.ndarray, products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fisher's z of r, and the standard deviation of its linear part between images, (resamples,) each.

    means: of 1, x, y, x², y² and xy, (resamples, 6). products: means of their products, (resamples, 36). NaN where
    there is no r.
    """
    n, x, y, xx, yy, xy = means.T
    with np.errstate(divide="ignore", invalid="ignore"):
        spread_x, spread_y, both = xx - x * x / n, yy - y * y / n, xy - x * y / n
        # what rounding leaves of a constant is no spread
        flat = ~((spread_x > 1e-12 * xx) & (spread_y > 1e-12 * yy))
        scale = np.where(flat, np.nan, np.sqrt(spread_x * spread_y))
        r = (both / scale).clip(-1, 1)
        of_both = np.stack([x * y / n**2, -y / n, -x / n, 0 * n, 0 * n, 1 + 0 * n], axis=1) / scale[:, None]
        of_x = np.stack([x * x / n**2, -2 * x / n, 0 * n, 1 + 0 * n, 0 * n, 0 * n], axis=1) / spread_x[:, None]
        of_y = np.stack([y * y / n**2, 0 * n, -2 * y / n, 0 * n, 1 + 0 * n, 0 * n], axis=1) / spread_y[:, None]
        gradient = (of_both - r[:, None] / 2 * (of_x + of_y)) / (1 - r[:, None] ** 2)
        variance = np.einsum("ra,rab,rb->r", gradient, products.reshape(-1, 6, 6), gradient)
        return np.arctanh(r), np.sqrt(variance.clip(0))
