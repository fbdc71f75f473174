"""Percentile bootstrap over images, paired: every method sees the same resampled images, so ranks can be compared.

The intervals speak of other images from the same source for the model at hand, not of other models or trainings.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

LEVEL = 0.95  # of the intervals
BLOCK = 1 << 22  # counts held at a time (32 MiB)
TIE = 1e-12  # relative; sums of the same scores in another order differ by less


class Difference(NamedTuple):
    """A mean difference with its percentile interval."""

    mean: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def bootstrap_means(scores: np.ndarray, resamples: int = 2000, seed: int = 0) -> np.ndarray:
    """Means of the methods over resampled images.

    Args:
        scores: (images, methods), finite.
        resamples: how many times as many images as there are get drawn with replacement.
        seed: the drawn images depend on it and on the number of images only, so another method changes no interval.

    Returns (resamples, methods) float64. Raises ValueError for no images, or scores that are not finite.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or not len(scores):
        raise ValueError(f"scores have the shape (images, methods) with at least one image, not {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("scores are not finite")
    images = len(scores)
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK // images)
    means = np.empty((resamples, scores.shape[1]))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = rng.integers(images, size=(size, images)) + images * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * images).reshape(size, images)
        means[start : start + size] = counts @ scores / images
    return means


def percentile_interval(means: np.ndarray, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends, (methods,) each, of the central `level` of (resamples, methods)."""
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high


def ranks(means: np.ndarray, higher_is_better: bool = True) -> np.ndarray:
    """Rank 1 for the best along the last axis; equal means share the better rank. int64, shaped as `means`."""
    values = np.asarray(means, dtype=np.float64) * (1 if higher_is_better else -1)
    margin = TIE * max(1.0, np.abs(values).max(initial=0.0))
    result = np.ones(values.shape, dtype=np.int64)
    for method in range(values.shape[-1]):
        result[..., method] += (values > values[..., method : method + 1] + margin).sum(axis=-1)
    return result


def rank_intervals(
    means: np.ndarray, higher_is_better: bool = True, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """Best and worst rank, (methods,) int64 each, of the central `level` of the resamples (resamples, methods)."""
    tail = (1 - level) / 2
    low, high = np.quantile(ranks(means, higher_is_better), [tail, 1 - tail], axis=0, method="inverted_cdf")
    return low.astype(np.int64), high.astype(np.int64)


def paired_difference(
    first: np.ndarray, second: np.ndarray, resamples: int = 2000, seed: int = 0, level: float = LEVEL
) -> Difference:
    """Mean of first - second, both (images,) for the same images in the same order, with its interval."""
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    low, high = percentile_interval(bootstrap_means(difference[:, None], resamples, seed), level)
    return Difference(float(difference.mean()), float(low[0]), float(high[0]))


def nested_differences(first: np.ndarray, second: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Resampled mean differences second - first, (resamples, methods) float64.

    Args:
        first, second: (trainings, images, methods), the same images and methods; trainings may differ in number.
        resamples, seed: how many, and what they are drawn from; neither methods nor their number change the draws.
    """
    rng = np.random.default_rng(seed)
    images = first.shape[1]
    differences = np.empty((resamples, first.shape[2]))
    for number in range(resamples):
        weights = np.bincount(rng.integers(images, size=images), minlength=images) / images
        drawn = [arm[rng.integers(len(arm), size=len(arm))].mean(axis=0) for arm in (first, second)]
        differences[number] = weights @ (drawn[1] - drawn[0])
    return differences
