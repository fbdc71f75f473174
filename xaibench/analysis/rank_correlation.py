"""Rank correlation of two orders of the same methods: Kendall's tau-b and Spearman's rho, many at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xaibench.analysis.bootstrap import TIE


class RankCorrelation(NamedTuple):
    """tau and rho, float64 in [-1, 1] of any one shape; NaN where either order is one tie of all."""

    tau: np.ndarray
    rho: np.ndarray


def order_of(values: np.ndarray) -> np.ndarray:
    """Which of two values along the last axis is larger: (..., K, K) float32 of -1, 0 and 1 from (..., K), finite.

    Values that differ by rounding alone are equal, as in `bootstrap.ranks`.
    """
    values = np.asarray(values, dtype=np.float64)
    margin = TIE * max(1.0, np.abs(values).max(initial=0.0))
    differences = values[..., :, None] - values[..., None, :]
    return (differences > margin).astype(np.float32) - (differences < -margin)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> RankCorrelation:
    """tau-b and rho, (...) each, of two orders (..., K, K) of the same K methods, as from `order_of`.

    Kendall 1945: (concordant - discordant pairs) / sqrt(pairs not tied in the first x in the second). Spearman 1904:
    Pearson's correlation of ranks, where methods that tie share the mean of their ranks.
    """
    tau = _cosine(first.reshape(*first.shape[:-2], -1), second.reshape(*second.shape[:-2], -1))
    # how many methods lie below, less how many lie above, is twice the rank from the middle
    rho = _cosine(first.sum(axis=-1, dtype=np.float64), second.sum(axis=-1, dtype=np.float64))
    return RankCorrelation(tau, rho)


def _cosine(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # sums of whole numbers, which float32 keeps exact far beyond any number of methods
    xy, xx, yy = (np.einsum("...i,...i->...", a, b).astype(np.float64) for a, b in ((x, y), (x, x), (y, y)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip(xy / np.sqrt(xx * yy), -1, 1)
