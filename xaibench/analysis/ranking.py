"""Means with intervals, ranks with rank sets, and groups, of methods that share images and of those that lack some."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from xaibench.analysis.bootstrap import TIE, ranks
from xaibench.analysis.intervals import Bounds, mean_intervals
from xaibench.analysis.letters import letters
from xaibench.analysis.rank_sets import rank_sets, surely_better

RANKED = ("method", "variant")  # kinds of cells; controls and oracles have no rank


def intervals_of_methods(
    sums: np.ndarray, ranked: np.ndarray, weights: np.ndarray | None = None, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    """`intervals.mean_intervals`, without an interval (NaN) for controls and oracles whose score never varies.

    They have it by construction, such as a constant map that is undefined everywhere. ranked: (methods,) bool.
    """
    low, high = mean_intervals(sums, weights, **options)
    per_row = sums if weights is None else sums[weights > 0] / weights[weights > 0, None]
    fixed = ~ranked & (np.ptp(per_row, axis=0) <= TIE * np.maximum(1.0, np.abs(per_row).max(axis=0)))
    low[fixed], high[fixed] = np.nan, np.nan
    return low, high


class Statistics(NamedTuple):
    """What a table says of its methods, in their order.

    table: mean, ci_low, ci_high (float64), rank, rank_low, rank_high (Int64) and group (str). better: whether the
    method of a row is surely better than that of a column, (methods, methods) bool; False without a rank.
    """

    table: pd.DataFrame
    better: np.ndarray


def statistics_of(
    scores: pd.DataFrame, complete: np.ndarray, ranked: np.ndarray, higher: bool, bounds: Bounds | None = None,
    resamples: int = 2000, seed: int = 0,
) -> Statistics:  # fmt: skip
    """Means, intervals, ranks, rank sets and groups of methods.

    Args:
        scores: (images, methods), NaN where nothing is stored.
        complete, ranked: (methods,) bool; which methods have every image, and which may have a rank at all.
        higher: whether higher scores are better.
        bounds: the least and the largest possible score, if known.
        resamples, seed: as for `bootstrap.resampled_counts`.
    """
    count = scores.shape[1]
    columns = {name: np.full(count, np.nan) for name in ("mean", "ci_low", "ci_high")}
    places = {name: pd.array([pd.NA] * count, dtype="Int64") for name in ("rank", "rank_low", "rank_high")}
    groups, better = np.full(count, "", dtype=object), np.zeros((count, count), bool)
    for together in [np.flatnonzero(complete), *np.flatnonzero(~complete)[:, None]]:
        values = scores.iloc[:, together].dropna().to_numpy()
        if not len(together) or not len(values):
            continue
        columns["mean"][together] = values.mean(axis=0)
        columns["ci_low"][together], columns["ci_high"][together] = intervals_of_methods(
            values, ranked[together], bounds=bounds, resamples=resamples, seed=seed
        )
        inside = complete[together] & ranked[together]
        if inside.any():
            who = together[inside]
            place = ranks(columns["mean"][who], higher)
            found = surely_better(values[:, inside], higher, bounds, resamples, seed)
            better[np.ix_(who, who)] = found
            for name, of_methods in zip(places, (place, *rank_sets(found)), strict=True):
                places[name][who] = of_methods
            groups[who] = letters(found, np.argsort(place, kind="stable"))
    return Statistics(pd.DataFrame(columns | places | {"group": groups}), better)
