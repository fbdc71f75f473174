"""Whether a protocol's order of methods predicts how well a reader of their maps finds the networks that cheat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xaibench.analysis.rank_correlation import order_of, rank_correlation
from xaibench.seeds import derive

LEVEL = 0.95


def mean_of_defined(scores: np.ndarray) -> np.ndarray:
    """Means (...,) over the last axis of what is not NaN; NaN where nothing is."""
    defined = ~np.isnan(scores)
    count = defined.sum(-1)
    return np.where(count > 0, np.where(defined, scores, 0).sum(-1) / np.maximum(count, 1), np.nan)


def prediction(
    quality: np.ndarray, readers: np.ndarray, cheats: np.ndarray, halves: np.ndarray, seed: int, resamples: int = 1000
) -> dict[str, float]:
    """Kendall's tau-b between a protocol's order of methods and that of the reader's AUCs, and its 95 % interval.

    quality (networks, methods), higher is better; readers (methods, networks) are the reader's held-out scores. For
    each half the protocol's means are over the other half. The interval is the percentile bootstrap over networks,
    cheats and others apart; it does not cover that other methods might have been chosen. NaN where an order is a tie of
    all, or the protocol is undefined on all networks of a half for a method.
    """
    pairs = [(np.flatnonzero((halves == h) & cheats), np.flatnonzero((halves == h) & ~cheats)) for h in (0, 1)]
    ones = np.ones(len(cheats))
    value = float(_tau(quality, readers, pairs, [ones, ones]))
    dice = np.random.default_rng(derive(seed, "judging", "resampled networks"))
    drawn = np.array([_tau(quality, readers, pairs, [_counts(dice, pairs, len(cheats)) for _ in (0, 1)])
                      for _ in range(resamples)])  # fmt: skip
    if np.isnan(value):
        return {"tau": value, "low": np.nan, "high": np.nan}
    # A draw in which all methods tie has no tau: it counts as -1 for the lower end and as 1 for the upper one.
    low = np.quantile(np.where(np.isnan(drawn), -1, drawn), (1 - LEVEL) / 2)
    high = np.quantile(np.where(np.isnan(drawn), 1, drawn), (1 + LEVEL) / 2)
    return {"tau": value, "low": float(low), "high": float(high)}


def _counts(dice: np.random.Generator, pairs: Sequence[tuple[np.ndarray, ...]], networks: int) -> np.ndarray:
    """How often each network is drawn where each group of networks is resampled, float64 (networks,)."""
    counts = np.zeros(networks)
    for group in (group for pair in pairs for group in pair):
        counts += np.bincount(dice.choice(group, len(group)), minlength=networks)
    return counts


def _tau(quality: np.ndarray, readers: np.ndarray, pairs: Sequence[tuple[np.ndarray, ...]], counts: list) -> float:
    """The mean over both halves; counts: of each network where AUCs, and where the protocol's means are taken."""
    found = []
    for half, (cheating, honest) in enumerate(pairs):
        difference = readers[:, cheating, None] - readers[:, None, honest]
        wins = (difference > 0) + 0.5 * (difference == 0)
        areas = np.einsum("mij,i,j->m", wins, counts[0][cheating], counts[0][honest]) / (len(cheating) * len(honest))
        other = np.concatenate(pairs[1 - half])
        values = quality[other]
        weights = counts[1][other, None] * ~np.isnan(values)
        if (weights.sum(0) == 0).any():
            return np.nan
        means = np.where(np.isnan(values), 0, values * weights).sum(0) / weights.sum(0)
        found.append(float(rank_correlation(order_of(means), order_of(areas)).tau))
    return float(np.mean(found))
