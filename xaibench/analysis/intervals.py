"""Intervals of means over images by the studentised bootstrap, which holds at few images and for skewed scores.

Each resample gives t* = (mean* - mean) / s*, with its own standard deviation s*; the ends are mean - t s for the
quantiles t of t* (Hall, Annals of Statistics 1988; Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
chapter 12), a little further out for few images (`studentised_tail`). A resample of one value has no t*: it counts as
infinite, since to leave it out makes intervals too short.

Where that is frequent, as for scores with few values, or where an end would leave the range of the scores, both ends
are those of Gaffke's bound for a bounded mean (Learned-Miller and Thomas, 2019; simulated in Phan et al., ICML 2021);
for scores at the two ends of the range these are the exact ones of Clopper and Pearson. Without a known range there is
no interval then.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xaibench.analysis.bootstrap import BLOCK, LEVEL, require_scores, resampled_counts, studentised_tail
from xaibench.seeds import derive

Bounds = tuple[float, float]
FLAT = 1e-12  # what rounding leaves of the variance of one value, relative to its square


def studentised(shift: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Means over standard deviations of resampled residuals, of any one shape: shift and squares are the means of the
    residuals and of their squares. A resample of one value has no deviation and counts as infinite."""
    variance = squares - shift**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance <= FLAT * squares, np.inf, shift / np.sqrt(variance))


class Difference(NamedTuple):
    """A mean difference with its interval, whose ends are NaN where there is none."""

    mean: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def mean_intervals(
    sums: np.ndarray, weights: np.ndarray | None = None, bounds: Bounds | None = None, resamples: int = 2000,
    seed: int = 0, level: float = LEVEL,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Lower and upper ends of the intervals of means over images, (methods,) float64 each.

    Args:
        sums: (images, methods), finite; the score of an image, or the sum over its rows.
        weights: (images,), not negative; the number of rows of each image, one by default. The mean is sum(sums) /
            sum(weights), and images are drawn with all their rows.
        bounds: the least and the largest possible score, if known; not used for a method that has others.
        resamples: how many times as many images as there are get drawn with replacement.
        seed: the drawn images depend on it and on the number of images only, so another method changes no interval.
        level: of the intervals, in (0, 1).

    Both ends are NaN where there is no interval: constant scores, or a single image, without `bounds`. Raises
    ValueError for no images, or scores that are not finite.
    """
    sums = require_scores(sums)
    weights = np.ones(len(sums)) if weights is None else np.asarray(weights, dtype=np.float64)
    mean = sums.sum(axis=0) / weights.sum()
    residuals = sums - mean * weights[:, None]
    t, flat = _studentised(residuals, weights, resamples, seed)
    tail = studentised_tail(len(sums), level)
    lowest = np.quantile(t, tail, axis=0, method="lower")
    highest = np.quantile(t, 1 - tail, axis=0, method="higher")
    spread = np.sqrt((residuals**2).mean(axis=0)) / weights.mean()
    with np.errstate(invalid="ignore"):
        low, high = mean - highest * spread, mean - lowest * spread
    poor = (flat > tail) | ~np.isfinite(low) | ~np.isfinite(high)
    inside = np.zeros(len(mean), bool)
    if bounds is not None:
        positive = weights > 0
        per_row = sums[positive] / weights[positive, None]
        inside = (per_row >= bounds[0]).all(axis=0) & (per_row <= bounds[1]).all(axis=0)
        poor |= inside & ((low < bounds[0]) | (high > bounds[1]))
    low[poor], high[poor] = np.nan, np.nan
    if bounds is not None and (poor & inside).any():
        chosen = np.flatnonzero(poor & inside)
        low[chosen], high[chosen] = bounded_intervals(sums[:, chosen], weights, bounds, resamples, seed, level)
    return low, high


def _studentised(
    residuals: np.ndarray, weights: np.ndarray, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """t* of every resample, (resamples, methods), and the share of resamples of one value, (methods,)."""
    methods = residuals.shape[1]
    features = np.hstack(
        [residuals, residuals**2, residuals * weights[:, None], weights[:, None], weights[:, None] ** 2]
    )
    t, flat, start = np.zeros((resamples, methods)), np.zeros(methods), 0
    for counts in resampled_counts(len(residuals), resamples, seed):
        found = counts @ features
        total, squares, mixed = (found[:, part * methods : (part + 1) * methods] for part in range(3))
        rows, rows_squared = found[:, -2:-1], found[:, -1:]
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = np.where(rows > 0, total / rows, 0.0)
            # residuals of the resample are around its own mean
            variance = squares - 2 * shift * mixed + shift**2 * rows_squared
            constant = variance <= FLAT * squares
            value = shift * rows / np.sqrt(variance * len(residuals))
        value[constant] = np.copysign(np.inf, shift[constant])
        value[constant & (squares == 0)] = 0.0
        t[start : start + len(counts)] = value
        flat += constant.sum(axis=0)
        start += len(counts)
    return t, flat / resamples


def bounded_intervals(
    sums: np.ndarray, weights: np.ndarray, bounds: Bounds, resamples: int = 2000, seed: int = 0, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of Gaffke's interval for means of scores within `bounds`; args and result as for `mean_intervals`.

    Images get weights that are uniform on the simplex, together with one image that was not seen: it is at an end of
    the range and has as many rows as the image with the most.
    """
    rng = np.random.default_rng(derive(seed, "weights of images"))
    images, most = len(sums), weights.max()
    block, start = max(1, BLOCK // (images + 1)), 0
    low, high = np.empty((resamples, sums.shape[1])), np.empty((resamples, sums.shape[1]))
    while start < resamples:
        drawn = rng.standard_exponential((min(block, resamples - start), images + 1))
        part = slice(start, start + len(drawn))
        seen, unseen = drawn[:, :-1] @ sums, drawn[:, -1:] * most
        rows = (drawn[:, :-1] @ weights)[:, None] + unseen
        low[part], high[part] = (seen + bounds[0] * unseen) / rows, (seen + bounds[1] * unseen) / rows
        start += len(drawn)
    tail = (1 - level) / 2
    ends = np.quantile(low, tail, axis=0), np.quantile(high, 1 - tail, axis=0)
    return tuple(np.clip(ends, *bounds))  # rounding may pass them


def paired_difference(
    first: np.ndarray, second: np.ndarray, bounds: Bounds | None = None, resamples: int = 2000, seed: int = 0,
    level: float = LEVEL,
) -> Difference:  # fmt: skip
    """Mean of first - second, both (images,) for the same images in the same order, with its interval.

    bounds: the least and the largest possible score of either, if known.
    """
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    low, high = mean_intervals(difference[:, None], None, of_differences(bounds), resamples, seed, level)
    return Difference(float(difference.mean()), float(low[0]), float(high[0]))


def of_differences(bounds: Bounds | None) -> Bounds | None:
    """The bounds of differences of two scores that have these bounds."""
    return None if bounds is None else (bounds[0] - bounds[1], bounds[1] - bounds[0])
