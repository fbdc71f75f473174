"""Which models are surely explained better than which, each by its best method.

Model A is surely better than B where its best method is better than every method of B. Each of these comparisons is a
one-sided test by the studentised bootstrap over paired images; that all of them hold needs no correction (an
intersection-union test; Berger, Technometrics 1982). That the method was chosen on these images is paid for by
Bonferroni over the methods of A, and over the pairs of models. So all claims hold at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np

from xaibench.analysis.bootstrap import LEVEL, require_scores, resampled_counts
from xaibench.analysis.intervals import FLAT, studentised

LARGE = 1 << 28  # draws of images beyond which Student's t takes the bootstrap's place: with so many the two agree
PART = 1 << 22  # drawn means that are in memory at a time


def better_models(
    scores: Sequence[np.ndarray],
    higher_is_better: bool = True,
    resamples: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
) -> np.ndarray:
    """Whether the model of a row is surely explained better than that of a column, (models, models) bool.

    Args:
        scores: of each model (images, methods), finite, the same images for all models; methods may differ, and a model
            without any is never told apart.
        resamples: at least how many times images are drawn; more where many models need a finer level.
        seed: what they are drawn from; see `bootstrap.resampled_counts`.
        level: the probability that all models told apart are so rightly, in (0, 1).

    Raises ValueError for no images, or scores that are not finite.
    """
    better = np.zeros((len(scores), len(scores)), bool)
    signed = [(1 if higher_is_better else -1) * require_scores(own) if own.shape[1] else own for own in scores]
    best = {model: own[:, own.mean(axis=0).argmax()] for model, own in enumerate(signed) if own.shape[1]}
    tests = [(a, b) for a, b in permutations(best, 2) if best[a].mean() > best[b].mean()]
    if not tests:
        return better
    shares = [(1 - level) / (len(best) * (len(best) - 1) / 2) / signed[a].shape[1] for a, _ in tests]
    differences = (best[a][:, None] - signed[b] for a, b in tests)
    resamples = max(resamples, int(2 / min(shares)))
    if len(signed[tests[0][1]]) * resamples > LARGE:  # all differences may be gigabytes
        found = [_one_sided(each, resamples, seed, np.full(each.shape[1], share), np.zeros(each.shape[1], int))
                 for each, share in zip(differences, shares, strict=True)]  # fmt: skip
    else:
        sizes = [signed[b].shape[1] for _, b in tests]
        claims, needed = np.repeat(np.arange(len(tests)), sizes), np.repeat(shares, sizes)
        found = np.split(
            _one_sided(np.hstack(list(differences)), resamples, seed, needed, claims), np.cumsum(sizes)[:-1]
        )
    for (a, b), share, p in zip(tests, shares, found, strict=True):
        better[a, b] = p.max() <= share
    return better


def _one_sided(
    differences: np.ndarray, resamples: int, seed: int, needed: np.ndarray, claims: np.ndarray
) -> np.ndarray:
    """p of each mean difference being above zero, (tests,), of differences (images, tests).

    needed: the greatest p with which a test supports its claim. claims: which claim each test belongs to, from 0 on.
    Once p of one test is surely greater, the tests of its claim are left as they are: the claim has failed anyway.
    """
    images = len(differences)
    mean, deviation = differences.mean(axis=0), differences.std(axis=0)
    flat = deviation**2 <= FLAT * (differences**2).mean(axis=0)
    observed = np.where(flat, -np.inf, mean / np.where(flat, 1.0, deviation))
    if images * resamples > LARGE:
        from scipy.stats import t

        return t.sf(observed * np.sqrt(images - 1), images - 1)
    residuals = differences - mean
    squared, reached, left = residuals**2, np.zeros(len(mean)), np.arange(len(mean))
    for counts in resampled_counts(images, resamples, seed):
        start = 0
        while start < len(counts) and len(left):
            part = counts[start : start + max(1, PART // len(left))]
            start += len(part)
            drawn = studentised(part @ residuals[:, left] / images, part @ squared[:, left] / images)
            reached[left] += (drawn >= observed[left]).sum(axis=0)
            failed = np.unique(claims[left][1 + reached[left] > needed[left] * (1 + resamples)])
            left = left[~np.isin(claims[left], failed)]
    return (1 + reached) / (1 + resamples)
