"""Differences of all pairs of methods of a board: their moments, and whether one value is frequent among them.

Images on which two methods differ by rounding alone are ties.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from xaibench.analysis.bootstrap import BLOCK, TIE
from xaibench.analysis.pair_moments import SAMPLE, SPREAD, moments


class PairDifferences(NamedTuple):
    """Pairs of methods, (pairs,) each.

    first, second: the methods' places. Of the differences first - second: mean; deviation, their standard deviation
    (n); mode, the most frequent value; others, the number of images with another one (all images where no value is
    there twice); least, below which the mean of squared residuals falls in no resample, or 0. Where some of the images
    show many values, mode is NaN and others counts these images alone.
    """

    first: np.ndarray
    second: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    mode: np.ndarray
    others: np.ndarray
    least: np.ndarray

    def part(self, which: np.ndarray) -> PairDifferences:
        return PairDifferences(*(values[which] for values in self))


def described(scores: np.ndarray) -> PairDifferences:
    """All pairs of methods, their differences being those of scores (images, methods), finite."""
    images, margin = len(scores), TIE * max(1.0, np.abs(scores).max())
    first, second = np.triu_indices(scores.shape[1], 1)
    found = PairDifferences(first, second, *(np.zeros(len(first)) for _ in range(5)))
    each = np.arange(len(first))
    if images > SAMPLE:
        # Pairs with many values are not looked at one by one.
        by_products, sample = moments(scores, first, second), scores[:: images // SAMPLE][:SAMPLE]
        # A chain of values that count as one among all images is at most so long.
        others = _one_by_one(sample, first, second, images * margin)[-1]
        spread = by_products.valid & (others >= SPREAD)
        values = (by_products.mean, by_products.deviation, np.nan, others, by_products.least)
        found = PairDifferences(first, second, *(np.where(spread, of_pairs, 0.0) for of_pairs in values))
        each = np.flatnonzero(~spread)
    if len(each):
        of_each = _one_by_one(scores, first[each], second[each], margin)
        for whole, part in zip(found[2:-1], of_each, strict=True):
            whole[each] = part
    return found


def _one_by_one(scores: np.ndarray, first: np.ndarray, second: np.ndarray, margin: float) -> tuple[np.ndarray, ...]:
    """What `_of_differences` gives for these pairs."""
    found = [_of_differences(differences_of(scores, first[at], second[at]), margin)
             for at in blocks(len(first), len(scores), BLOCK)]  # fmt: skip
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def _of_differences(differences: np.ndarray, margin: float) -> tuple[np.ndarray, ...]:
    """What `PairDifferences` holds of differences (images, pairs), where a margin separates values."""
    images, ordered = len(differences), np.sort(differences, axis=0)
    places = np.arange(images)[:, None]
    starts = np.ones(ordered.shape, bool)
    starts[1:] = np.diff(ordered, axis=0) > margin
    length = places - np.maximum.accumulate(np.where(starts, places, 0), axis=0) + 1
    end = length.argmax(axis=0)
    most = length.max(axis=0)
    mode = np.take_along_axis(ordered, end[None], axis=0)[0]
    deviation = np.where(most < images, differences.std(axis=0), 0.0)
    return differences.mean(axis=0), deviation, mode, np.where(most > 1, images - most, images)


def differences_of(scores: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """first - second, (images, pairs), zero where that is rounding alone."""
    found = scores[:, first] - scores[:, second]
    found[np.abs(found) <= TIE * max(1.0, np.abs(scores).max())] = 0.0
    return found


def blocks(pairs: int, rows: int, most: int) -> Iterator[slice]:
    """Slices of the pairs, so that arrays of so many rows stay small: of at most so many numbers."""
    size = max(1, most // rows)
    return (slice(start, min(start + size, pairs)) for start in range(0, pairs, size))
