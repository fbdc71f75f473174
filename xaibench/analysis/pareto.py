"""The Pareto front of score against cost, or against accuracy: what nothing else beats in both at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from xaibench.analysis.across_models import AcrossModels
from xaibench.analysis.bootstrap import TIE
from xaibench.analysis.costs import COLUMNS as COSTS
from xaibench.analysis.leaderboard import Leaderboard
from xaibench.errors import XaibenchError
from xaibench.presentation import Presentable

POINT_COLUMNS = ("on_front", "beaten_by", "surely")


@dataclass(frozen=True)
class Pareto(Presentable):
    """Points with two numbers each, and which of them are on the Pareto front.

    table: one row per point, by x from its better end: what it is (`method`, or `model` and `best_method`), x under its
    own name, mean with ci_low and ci_high, and `POINT_COLUMNS`: on_front; beaten_by, the point with the best mean of
    those that beat this one, "" on the front; surely, whether one that is no worse in x is surely better by the board
    (None where that is not known). x: the column on the x-axis; x_high: whether more of it is better. metric,
    higher_is_better: of the mean. left_out: points without one of the numbers. notes: what a reader must know.
    """

    layout: ClassVar[str] = "pareto"

    table: pd.DataFrame
    x: str
    x_high: bool
    of: str
    metric: str
    higher_is_better: bool
    title: str
    notes: tuple[str, ...]


def beats(x: np.ndarray, y: np.ndarray, x_high: bool = False, y_high: bool = True) -> np.ndarray:
    """Which point beats which: bool (n, n), the row's is no worse than the column's in x and y, and better in one.

    x, y: (n,) float64; x_high, y_high: whether more is better. Numbers that differ by rounding alone are equal. A point
    with a NaN beats none and is beaten by none.
    """
    better, worse = [], []
    for values, high in ((x, x_high), (y, y_high)):
        values = np.asarray(values, dtype=np.float64) * (1 if high else -1)
        margin = TIE * np.maximum(1.0, np.abs(values))
        better.append(values[:, None] > values[None, :] + margin)
        worse.append(~(values[:, None] >= values[None, :] - margin))  # NaN is worse than all
    known = np.isfinite(x) & np.isfinite(y)
    return (better[0] | better[1]) & ~worse[0] & ~worse[1] & known[:, None] & known[None, :]


def pareto_front(x: np.ndarray, y: np.ndarray, x_high: bool = False, y_high: bool = True) -> np.ndarray:
    """Which points (n,) no other point beats, as a bool (n,); of equal points all are or none is, NaN never."""
    return ~beats(x, y, x_high, y_high).any(axis=0) & np.isfinite(x) & np.isfinite(y)


def pareto_of_costs(board: Leaderboard, cost: str = "passes", surely_better: pd.DataFrame | None = None) -> Pareto:
    """Mean score against cost, over the ranked methods of a board.

    Args:
        cost: `passes`, `seconds`, or what each is as a share (`analysis.costs.COLUMNS`), less is better.
        surely_better: bool (methods, methods) by name, as a leaderboard has it.

    Raises XaibenchError where nothing is ranked, and where no run recorded what methods cost.
    """
    if cost not in COSTS:
        raise XaibenchError(f"the cost is one of {', '.join(COSTS)}, not {cost!r}")
    if not board.table["rank"].notna().any():
        raise XaibenchError(f"no method of this board has a rank by {board.metric}, so none is better for its cost")
    if cost not in board.table:
        raise XaibenchError(
            "no run of this board recorded what its methods cost: older runs and those of kept maps alone do not; "
            "run it into a new folder by --out"
        )
    table = board.table[board.table["rank"].notna()]
    without = table.loc[table[cost].isna(), "method"].tolist()
    notes = [*board.notes, *([f"left out, as no run recorded their cost: {', '.join(without)}"] if without else [])]
    points = table.loc[table[cost].notna(), ["method", cost, "mean", "ci_low", "ci_high"]]
    return _pareto(board, points, cost, "method", notes, surely_better)


def pareto_of_models(found: AcrossModels) -> Pareto:
    """Mean score of each model's best method against the model's accuracy.

    Raises XaibenchError where the protocol's scores may not be compared across models, and where no accuracy is known.
    """
    name = found.context["protocol"]["name"]
    if not found.comparable:
        raise XaibenchError(f"{name} is not made for comparing models, so models have no Pareto front by it")
    models = found.models
    known = models["accuracy"].notna() & models["best"].notna()
    if not known.any():
        raise XaibenchError("the accuracy of none of these models is known")
    notes = [*found.notes, "each model's method is the best on these images, so its mean is higher than on others"]
    if found.models.loc[known, "accuracy_on"].nunique() > 1:
        notes.append("accuracies are of different images (accuracy_on)")
    if not known.all():
        notes.append(f"left out without an accuracy or a score: {', '.join(models.loc[~known, 'model'])}")
    points = models.loc[known, ["model", "best_method", "accuracy", "accuracy_on", "best", "ci_low", "ci_high"]]
    points = points.rename(columns={"best": "mean"})
    return _pareto(found, points, "accuracy", "model", notes)


def _pareto(
    board: Leaderboard | AcrossModels, points: pd.DataFrame, x: str, of: str, notes: Sequence[str],
    surely_better: pd.DataFrame | None = None,
) -> Pareto:  # fmt: skip
    x_high, higher = x == "accuracy", board.higher_is_better  # of costs less is better
    points = points.sort_values([x, "mean"], ascending=[not x_high, not higher], kind="stable").reset_index(drop=True)
    costs, means, names = points[x].to_numpy(float), points["mean"].to_numpy(float), points[of].tolist()
    above = beats(costs, means, x_high, higher)
    best = means if higher else -means
    by = [names[max(np.flatnonzero(column), key=lambda i: best[i])] if column.any() else "" for column in above.T]
    points = points.assign(on_front=~above.any(axis=0), beaten_by=by)
    if surely_better is not None:
        sure = surely_better.reindex(index=names, columns=names).to_numpy(bool)
        points["surely"] = (above & sure).any(axis=0)
    title = f"{board.title} · Pareto front of mean and {x}"
    return Pareto(points, x, x_high, of, board.metric, higher, title, tuple(notes))
