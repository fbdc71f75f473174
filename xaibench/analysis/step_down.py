"""The step-down test of all pairs of methods by the largest studentised bootstrap statistic (`rank_sets`).

Resampled statistics matter only where they reach the pair's own one, and the smallest one that is told apart. A pair
whose statistic stays below both with the least deviation that a resample can have (`pair_moments`) needs none, which of
many methods on many images leaves few.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xaibench.analysis.bootstrap import BLOCK, bootstrap_means, resampled_counts
from xaibench.analysis.intervals import studentised
from xaibench.analysis.pair_differences import PairDifferences, blocks, differences_of

CACHED = 1 << 18  # statistics that are computed together: so many stay in the cache of a processor


def step_down(scores: np.ndarray, pairs: PairDifferences, resamples: int, seed: int, needed: float = 1.0) -> np.ndarray:
    """p of each pair, adjusted for all pairs whose statistic is not larger, (pairs,) float64 in (0, 1].

    Args:
        scores: (images, methods), finite.
        pairs: at least one, each with a deviation above 0.
        resamples, seed: as for `bootstrap.resampled_counts`.
        needed: the largest p that matters; a larger one may be given as another one above it.
    """
    statistic = np.abs(pairs.mean) / pairs.deviation
    order = np.argsort(statistic, kind="stable")
    pairs, observed = pairs.part(order), statistic[order]
    drawn = bootstrap_means(scores - scores.mean(axis=0), resamples, seed)
    limit = 0.0
    if pairs.least.any():
        nearly = _share(_nearly(drawn, pairs), observed, resamples)
        limit = 0.9 * observed[nearly > needed].max(initial=0.0)
    while True:
        p = _share(_resampled(scores, pairs, drawn, seed, np.maximum(observed, limit)), observed, resamples)
        # Below the limit p is too small; that does not matter where a pair above it is not told apart.
        if limit <= observed[0] or (p[observed >= limit] > needed).any():
            break
        limit *= 0.8
    p[observed < limit] = 1.0
    # A pair is told apart only if all with a larger statistic are.
    result = np.empty(len(observed))
    result[order] = np.maximum.accumulate(p[::-1])[::-1]
    return result


def _share(statistics: Iterator[tuple[slice, np.ndarray]], observed: np.ndarray, resamples: int) -> np.ndarray:
    """The share of resamples, the images themselves among them, in which the largest statistic of each pair and those
    before it is at least its own, (pairs,).

    statistics: (resamples, pairs) in blocks, of pairs first, each with the pairs that it is about.
    """
    reached, largest = np.zeros(len(observed)), np.zeros((0, 1))
    for at, t in statistics:
        largest = largest if at.start else np.zeros((len(t), 1))
        t = np.maximum.accumulate(np.hstack([largest, t]), axis=1)
        reached[at] += (t[:, 1:] >= observed[at]).sum(axis=0)
        largest = t[:, -1:]
    return (1 + reached) / (1 + resamples)


def _nearly(drawn: np.ndarray, pairs: PairDifferences) -> Iterator[tuple[slice, np.ndarray]]:
    """Statistics of resamples as if these had the deviation of the images; drawn: their means (resamples, methods)."""
    rows = 100  # a few thousand pairs in the cache
    for start in range(0, len(drawn), rows):
        for at in blocks(len(pairs.mean), rows, CACHED):
            yield at, _shift(drawn[start : start + rows], pairs.part(at)) / pairs.deviation[at]


def _resampled(
    scores: np.ndarray, pairs: PairDifferences, drawn: np.ndarray, seed: int, least: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
    """Statistics of resamples, 0 for a pair that surely stays below its least one in all of a block."""
    images, start = len(scores), 0
    for counts in resampled_counts(images, len(drawn), seed):
        means, counts = drawn[start : start + len(counts)], counts.astype(np.float64)
        start += len(counts)
        for at in blocks(len(least), len(counts), CACHED):
            part = pairs.part(at)
            shift, may_reach = _shift(means, part), part.least == 0
            far = np.flatnonzero(~may_reach)
            may_reach[far] = (studentised(shift[:, far], part.least[far]) >= least[at][far]).any(axis=0)
            t = np.zeros(shift.shape)
            some = np.flatnonzero(may_reach)
            for block in blocks(len(some), images, BLOCK):
                own = some[block]
                residuals = differences_of(scores, part.first[own], part.second[own]) - part.mean[own]
                t[:, own] = studentised(shift[:, own], counts @ residuals**2 / images)
            yield at, t


def _shift(means: np.ndarray, pairs: PairDifferences) -> np.ndarray:
    return np.abs(means[:, pairs.first] - means[:, pairs.second])
