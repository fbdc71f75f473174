"""Paired sign-flip permutation test of a mean difference, with the confidence interval that agrees with it.

If two methods do equally well, each image's difference is as likely to have the other sign (Fisher 1935, Pitman 1937).
Flipping the signs of a subset A of the images changes the sum of the differences by twice their sum over A, so the
sums over subsets give both the test and its interval: the quantiles of the means over subsets (Hartigan, JASA 1969).
The sum of squares is the same under all flips, so this is also the studentised test, which holds for means of skewed
differences as the images grow in number (Janssen, Statistics & Probability Letters 1999).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from xaibench.analysis.bootstrap import BLOCK, LEVEL, TIE, require_scores
from xaibench.seeds import derive

EXACT = 16  # images up to which every subset is taken
DRAWN = 49_999  # subsets otherwise; after Holm's step p can get below .02 with 45 methods
FEWEST = 9_999
DRAWS = 1 << 29  # of single images; lists of more than 10 000 get fewer subsets for it


class Subsets(NamedTuple):
    """Sums of scores over subsets of images, one of each subset and its complement; the empty one is among them.

    sums: (methods, subsets) float64; sizes: (subsets,) float64; total: (methods,) sums over all images; images: how
    many there are; margin: sums that differ by less are equal; exact: whether these are all subsets, or drawn ones.
    """

    sums: np.ndarray
    sizes: np.ndarray
    total: np.ndarray
    images: int
    margin: float
    exact: bool


class FlipTest(NamedTuple):
    """Two-sided p in (0, 1], and the ends of the interval of the mean difference (NaN where p cannot get so low)."""

    p: float
    low: float
    high: float


def subsets_of(scores: np.ndarray, seed: int = 0) -> Subsets:
    """Sums of the scores (images, methods), finite, over all subsets of at most 16 images, or over drawn ones.

    Which are drawn depends on the seed and on the number of images only, so another method changes no p. Raises
    ValueError for no images, or scores that are not finite.
    """
    scores = require_scores(scores)
    parts = [(taken @ scores, taken.sum(axis=1)) for taken in _members(len(scores), seed)]
    sums, sizes = (np.concatenate(part) for part in zip(*parts, strict=True))
    margin = TIE * len(scores) * max(1.0, np.abs(scores).max(initial=0.0))
    return Subsets(np.ascontiguousarray(sums.T), sizes, scores.sum(axis=0), len(scores), margin, len(scores) <= EXACT)


def sign_flip(subsets: Subsets, first: int, second: int, level: float = LEVEL) -> FlipTest:
    """The test of mean(first - second) = 0, two columns of the scores, and the interval that has the values not
    rejected: it leaves out 0 exactly where p <= 1 - level.

    p is the share of flips, the identity among them, whose mean is at least as far from 0; with drawn subsets this is
    the add-one rule (Phipson and Smyth 2010). Two methods with the same scores have p = 1.
    """
    sums = subsets.sums[first] - subsets.sums[second]
    total = float(subsets.total[first] - subsets.total[second])
    p = float(np.mean(np.abs(total - 2 * sums) >= abs(total) - subsets.margin))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [sums / subsets.sizes, (total - sums) / (subsets.images - subsets.sizes)]
    means = np.concatenate(means)
    means = means[np.isfinite(means)]
    means[np.abs(means) <= subsets.margin / subsets.images] = 0.0  # what rounding leaves of nothing
    empty = 2 * len(sums) - len(means)
    # The value d is rejected from below where (empty subsets and those with a mean <= d) are at most so many.
    place = int((1 - level) * len(sums) + 1e-9) - empty
    if place < 0:
        return FlipTest(p, np.nan, np.nan)
    ends = np.partition(means, [place, len(means) - 1 - place])
    return FlipTest(p, float(ends[place]), float(ends[len(means) - 1 - place]))


def holm(p: np.ndarray) -> np.ndarray:
    """P-values (tests,) adjusted by Holm's step-down method (1979), which holds however the tests depend."""
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted


def _members(images: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks (subsets, images) float64 of 0 and 1; the first subset is the empty one."""
    rows = max(1, BLOCK // images)
    if images <= EXACT:  # the last image is in none, as each complement counts too
        for start in range(0, 1 << (images - 1), rows):
            number = np.arange(start, min(start + rows, 1 << (images - 1)))
            yield (number[:, None] >> np.append(np.arange(images - 1), 62) & 1).astype(np.float64)
        return
    rng = np.random.default_rng(derive(seed, "sign flips"))
    yield np.zeros((1, images))
    drawn = min(DRAWN, max(FEWEST, DRAWS // images))
    for start in range(0, drawn, rows):
        yield rng.integers(2, size=(min(rows, drawn - start), images), dtype=np.int8).astype(np.float64)
