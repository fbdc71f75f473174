"""Bootstrap over images, paired: every method sees the same resampled images, so ranks can be compared.

The intervals speak of other images from the same source for the model at hand, not of other models or trainings.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xaibench.errors import XaibenchError
from xaibench.seeds import derive

LEVEL = 0.95  # of the intervals
BLOCK = 1 << 22  # counts held at a time (32 MiB)
LARGEST = 1e100  # size of a score
TIE = 1e-12  # relative; sums of the same scores in another order differ by less


def require_scores(scores: np.ndarray) -> np.ndarray:
    """Scores (images, methods) as float64.

    Raises ValueError where there is no image, or one that is not finite, and XaibenchError for scores that only a
    damaged or foreign folder has: their squares, or sums of these, are no numbers.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or not len(scores):
        raise ValueError(f"scores have the shape (images, methods) with at least one image, not {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("scores are not finite")
    if (largest := np.abs(scores).max(initial=0.0)) > LARGEST:
        raise XaibenchError(
            f"a score of size {largest:.3g} is too large for means; `xaibench validate` lists such rows"
        )
    return scores


def studentised_tail(images: int, level: float = LEVEL) -> float:
    """The share of resamples beyond either end of an interval of the studentised bootstrap: (1 - level) / 2, less its
    n-th part for n images.

    Studentised intervals miss their level by an amount of the order 1/n (Hall, Annals of Statistics 1988), downwards
    where scores have a long tail, as resamples have no longer one than the sample. The nominal level is raised
    accordingly, which is called calibrated (Loh, Journal of the American Statistical Association 82, 1987); that the
    n-th part is enough was found by simulation (`docs/statistics.md`).
    """
    return (1 - level) / 2 * (1 - 1 / images)


def resampled_counts(images: int, resamples: int = 2000, seed: int = 0) -> Iterator[np.ndarray]:
    """How often each image is drawn in each resample, (block, images) int64, block by block.

    resamples: how many times as many images as there are get drawn with replacement. seed: the draws depend on it and
    on the number of images only.
    """
    rng = np.random.default_rng(derive(seed, "resampled images"))
    block = max(1, BLOCK // images)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = rng.integers(images, size=(size, images)) + images * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * images).reshape(size, images)


def bootstrap_means(scores: np.ndarray, resamples: int = 2000, seed: int = 0) -> np.ndarray:
    """Means of the methods over resampled images, (resamples, methods) float64.

    scores: (images, methods), finite. resamples, seed: as for `resampled_counts`, so another method changes nothing.
    Raises ValueError for no images, or scores that are not finite.
    """
    scores = require_scores(scores)
    return np.concatenate([counts @ scores for counts in resampled_counts(len(scores), resamples, seed)]) / len(scores)


def ranks(means: np.ndarray, higher_is_better: bool = True) -> np.ndarray:
    """Rank 1 for the best along the last axis; equal means share the better rank. int64, shaped as `means`."""
    values = np.asarray(means, dtype=np.float64) * (1 if higher_is_better else -1)
    margin = TIE * max(1.0, np.abs(values).max(initial=0.0))
    result = np.ones(values.shape, dtype=np.int64)
    for method in range(values.shape[-1]):
        result[..., method] += (values > values[..., method : method + 1] + margin).sum(axis=-1)
    return result
