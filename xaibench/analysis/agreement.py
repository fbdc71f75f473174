"""Whether boards order methods alike: rank correlations of boards, and how far their images let them agree at all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from xaibench.analysis.bootstrap import LEVEL, bootstrap_means
from xaibench.analysis.rank_correlation import order_of, rank_correlation
from xaibench.errors import XaibenchError
from xaibench.presentation import Presentable
from xaibench.seeds import derive

COLUMNS = ("first", "second", "tau", "tau_low", "tau_high", "rho", "rho_low", "rho_high", "corrected", "status",
           "n_methods", "n_images")  # fmt: skip
BOARD_COLUMNS = ("name", "reliability", "n_methods", "n_images", "title")
RESAMPLES, SPLITS = 1000, 200
FEWEST_METHODS = 3  # two methods can only agree or not
UNDEFINED = "undefined"


@dataclass(frozen=True)
class Agreement(Presentable):
    """How boards agree on the order of methods, two by two.

    table: one row per pair of boards with `COLUMNS`: Kendall's tau-b and Spearman's rho of the mean scores of the
    methods that both rank, on the images that both have, +1 for the same order from best to worst; the ends of their
    percentile intervals over images; corrected, rho without what so few images take from it, at most 1; status, why
    it is undefined or what was cut. boards: one row per board with `BOARD_COLUMNS`, in the order of the clusters:
    reliability is the rho to be expected between its order and that of as many other images. across: what the boards
    differ in. notes: what was left out.
    """

    layout: ClassVar[str] = "agreement"

    table: pd.DataFrame
    boards: pd.DataFrame
    across: str
    title: str
    notes: tuple[str, ...]

    @property
    def matrix(self) -> pd.DataFrame:
        """tau of every two boards, in the order of the clusters; 1 on the diagonal, NaN where it is undefined."""
        names = self.boards["name"].tolist()
        return _square(self.table, names)

    @cached_property
    def tree(self) -> np.ndarray:
        """The clusters as SciPy's linkage matrix (boards - 1, 4): average linkage of distances 1 - tau, an undefined
        tau as 0; leaves are the rows of `boards`."""
        return _tree(self.matrix)


def agreement(
    scores: dict[str, pd.DataFrame], higher: dict[str, bool], *, across: str = "protocol", title: str = "",
    titles: dict[str, str] | None = None, notes: tuple[str, ...] = (), seed: int = 0,
) -> Agreement:  # fmt: skip
    """How boards agree.

    Args:
        scores: of each board by its name, one row per image and one column per ranked method, finite.
        higher: whether higher scores are better on each board.
        title, titles: what is compared, and of each board.
        seed: of the resampled images and of the halves.

    Raises XaibenchError for fewer than two boards.
    """
    if len(scores) < 2:
        raise XaibenchError("agreement needs two boards or more")
    best_up = {name: frame if higher[name] else -frame for name, frame in scores.items()}
    table = pd.DataFrame([_pair(*two, best_up, seed) for two in combinations(best_up, 2)], columns=list(COLUMNS))
    lost = int((table["tau"].isna()).sum())
    if lost:
        notes = (*notes, f"{lost} of {len(table)} pairs of boards have no rank correlation; the clusters take it as 0")
    names = list(best_up)
    rows = [
        (name, _reliability(frame.to_numpy(), seed), frame.shape[1], len(frame), (titles or {}).get(name, ""))
        for name, frame in best_up.items()
    ]
    boards = pd.DataFrame(rows, columns=list(BOARD_COLUMNS)).set_index("name", drop=False)
    order = leaves_list(_tree(_square(table, names)))
    boards = boards.loc[[names[place] for place in order]].reset_index(drop=True)
    return Agreement(table, boards, across, title, notes)


def _square(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    found = pd.DataFrame(np.eye(len(names)), index=names, columns=names)
    for row in table.itertuples():
        found.loc[row.first, row.second] = found.loc[row.second, row.first] = row.tau
    return found


def _tree(taus: pd.DataFrame) -> np.ndarray:
    distances = 1 - np.nan_to_num(taus.to_numpy())
    np.fill_diagonal(distances, 0)
    return linkage(squareform(distances, checks=False), "average", optimal_ordering=True)


def _pair(first: str, second: str, scores: dict[str, pd.DataFrame], seed: int) -> tuple[Any, ...]:
    """The row of two boards."""
    methods = [name for name in scores[first] if name in scores[second]]
    images = scores[first].index.intersection(scores[second].index).sort_values()
    a, b = (scores[name].loc[images, methods].to_numpy(np.float64) for name in (first, second))
    empty = (np.nan,) * 7
    if len(methods) < FEWEST_METHODS or not len(images):
        few = f"{len(methods)} methods in common" if len(images) else "no image in common"
        return first, second, *empty, f"{UNDEFINED}: {few}", len(methods), len(images)
    raw = rank_correlation(order_of(a.mean(axis=0)), order_of(b.mean(axis=0)))
    if not np.isfinite(raw.tau):
        return first, second, *empty, f"{UNDEFINED}: all methods tie", len(methods), len(images)
    means = bootstrap_means(np.hstack([a, b]), RESAMPLES, seed)  # the same images for both boards
    drawn = rank_correlation(order_of(means[:, : len(methods)]), order_of(means[:, len(methods) :]))
    ends = [_ends(part) for part in drawn]
    corrected, status = disattenuated(a, b, (first, second), seed)
    return (
        first, second, float(raw.tau), *ends[0], float(raw.rho), *ends[1], corrected, status, len(methods), len(images)
    )  # fmt: skip


def _ends(values: np.ndarray) -> tuple[float, float]:
    """The ends of the percentile interval, without resamples in which all methods tie."""
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)


def disattenuated(
    first: np.ndarray, second: np.ndarray, names: tuple[str, str] = ("first", "second"), seed: int = 0
) -> tuple[float, str]:
    """Spearman's rho of two boards without what the choice of images takes from it, and a status.

    Spearman's correction for attenuation (1904), from halves of the images: mean rho between the first board's order
    on one half and the second's on the other, over the geometric mean of both boards' rho between halves. Both boards
    never see the same image in one rho: on the same images their errors go together, and the correction of the rho
    of whole boards by Spearman-Brown reliabilities is far above 1 (`docs/agreement.md` has the simulation).

    Args:
        first, second: scores (images, methods) of the same images and methods, higher for better.
        names: of the boards, for the status.

    Returns a number in [-1, 1], NaN where it is undefined, and why it is, or from what it was cut; "" else.
    """
    if len(first) < 4:
        return float("nan"), f"{UNDEFINED}: {len(first)} images have no halves"
    halves = _halves(first, seed), _halves(second, seed)
    own = [_mean(rank_correlation(*half).rho) for half in halves]
    for name, rho in zip(names, own, strict=True):
        if not rho > 0:
            return float("nan"), f"{UNDEFINED}: {name} has no reliability ({rho:.2f} between halves)"
    (a, b), (c, d) = halves
    crossed = _mean(np.stack([rank_correlation(a, d).rho, rank_correlation(b, c).rho]))
    value = float(crossed / np.sqrt(own[0] * own[1]))
    if abs(value) > 1:
        return float(np.sign(value)), f"cut from {value:.2f}"
    return value, ""


def _mean(values: np.ndarray) -> float:
    """The mean of the finite values, NaN where there is none."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def _halves(scores: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Orders (splits, K, K) of means over random halves of the images, the same for the same number of images."""
    rng, half = np.random.default_rng(derive(seed, "halves of the images")), len(scores) // 2
    drawn = np.stack([rng.permutation(len(scores))[: 2 * half] for _ in range(SPLITS)])
    return order_of(scores[drawn[:, :half]].mean(axis=1)), order_of(scores[drawn[:, half:]].mean(axis=1))


def _reliability(scores: np.ndarray, seed: int) -> float:
    """Of a board's order: rho between halves of its images, stepped up to all of them (Spearman-Brown, 1910)."""
    if len(scores) < 4 or scores.shape[1] < FEWEST_METHODS:
        return float("nan")
    rho = _mean(rank_correlation(*_halves(scores, seed)).rho)
    return 2 * rho / (1 + rho) if rho > -1 else float("nan")
