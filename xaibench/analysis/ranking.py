"""Means with intervals and ranks with theirs, of methods that share their images and of those that lack some."""

from __future__ import annotations

import numpy as np
import pandas as pd

from xaibench.analysis.bootstrap import LEVEL, bootstrap_means, percentile_interval, rank_intervals, ranks

RANKED = ("method", "variant")  # kinds of cells; controls and oracles have no rank


def statistics_of(
    scores: pd.DataFrame, complete: np.ndarray, ranked: np.ndarray, higher: bool, resamples: int, seed: int
) -> tuple[pd.DataFrame, set[int]]:
    """Columns mean to rank_high per method, and the positions of methods not told apart from the one ranked above."""
    count = scores.shape[1]
    columns = {name: np.full(count, np.nan) for name in ("mean", "ci_low", "ci_high")}
    places = {name: pd.array([pd.NA] * count, dtype="Int64") for name in ("rank", "rank_low", "rank_high")}
    groups = [np.flatnonzero(complete), *np.flatnonzero(~complete)[:, None]]
    ties: set[int] = set()
    for group in groups:
        values = scores.iloc[:, group].dropna().to_numpy()
        if not len(group) or not len(values):
            continue
        means = bootstrap_means(values, resamples, seed)
        columns["mean"][group] = values.mean(axis=0)
        columns["ci_low"][group], columns["ci_high"][group] = percentile_interval(means, LEVEL)
        inside = complete[group] & ranked[group]
        if inside.any():
            place = ranks(columns["mean"][group][inside], higher)
            low, high = rank_intervals(means[:, inside], higher, LEVEL)
            for name, found in (("rank", place), ("rank_low", low), ("rank_high", high)):
                places[name][group[inside]] = found
            ties = _ties(means[:, inside], place, group[inside])
    return pd.DataFrame(columns | places), ties


def _ties(means: np.ndarray, place: np.ndarray, positions: np.ndarray) -> set[int]:
    order = np.argsort(place, kind="stable")
    if len(order) < 2:
        return set()
    low, high = percentile_interval(means[:, order[:-1]] - means[:, order[1:]], LEVEL)
    return {int(positions[below]) for below, near in zip(order[1:], (low <= 0) & (high >= 0), strict=True) if near}
