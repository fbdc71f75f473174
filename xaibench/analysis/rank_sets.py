"""Which methods are surely better than which, and the ranks that each may have: one simultaneous test of all pairs.

The statistic of a pair is the mean of its paired differences over their standard deviation. Its null distribution is
that of the largest studentised bootstrap statistic of all pairs, with step-down: a pair that is told apart leaves the
maximum for the pairs below it (Romano and Wolf, Journal of the American Statistical Association 2005; rank sets after
Mogstad, Romano, Shaikh and Wilhelm, Review of Economic Studies 2024). So at the stated level all rank sets hold at
once, for the population that the images come from.

Images on which two methods differ by rounding alone are ties. A pair whose differences nearly all have one value has no
bootstrap: its standard deviation is zero in many resamples, and to leave these out errs too often. Such a pair is told
apart only where the range of the scores proves it (`_tail_of_one_value`), so not where that one value is zero.
"""

from __future__ import annotations

import numpy as np

from xaibench.analysis.bootstrap import LEVEL, TIE, require_scores
from xaibench.analysis.intervals import Bounds
from xaibench.analysis.pair_differences import PairDifferences, described, differences_of
from xaibench.analysis.step_down import step_down

FEWEST = 6  # images with other differences than the most frequent one; with fewer no sign test has p below .05
CONSTANT = 0.01  # the share of resamples in which the standard deviation of any tested pair may be zero


def surely_better(
    scores: np.ndarray, higher_is_better: bool = True, bounds: Bounds | None = None, resamples: int = 2000,
    seed: int = 0, level: float = LEVEL,
) -> np.ndarray:  # fmt: skip
    """Whether the method of a row is surely better than that of a column, (methods, methods) bool.

    Args:
        scores: (images, methods), finite, the same images for all methods.
        bounds: the least and the largest possible score, if known; not used where a score lies outside.
        resamples, seed: how many times images are drawn, and what from; see `bootstrap.resampled_counts`.
        level: the probability that all pairs that are told apart are so rightly, in (0, 1).

    Raises ValueError for no images, or scores that are not finite.
    """
    scores = require_scores(scores)
    methods = scores.shape[1]
    higher = np.zeros((methods, methods), bool)
    if methods > 1:
        pairs = described(scores)
        tested = _testable(pairs, len(scores))
        known = bounds is not None and scores.min() >= bounds[0] and scores.max() <= bounds[1]
        provable = ~tested & (pairs.mode != 0) & known
        # Each pair gets its share of the errors, those without a bootstrap by Bonferroni.
        share = (1 - level) / max(1, tested.sum() + provable.sum())
        apart = np.zeros(len(tested), bool)
        if tested.any():
            needed = share * tested.sum()
            apart[tested] = step_down(scores, pairs.part(tested), resamples, seed, needed) <= needed
        if provable.any():
            apart[provable] = _tail_of_one_value(scores, pairs.part(provable), bounds[1] - bounds[0]) <= share
        winner, loser = np.where(pairs.mean > 0, (pairs.first, pairs.second), (pairs.second, pairs.first))
        higher[winner[apart], loser[apart]] = True
    return higher if higher_is_better else higher.T


def rank_sets(better: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best and the worst rank that each method may have, (methods,) int64 each.

    better: as `surely_better` gives it.
    """
    return 1 + better.sum(axis=0), len(better) - better.sum(axis=1)


def _testable(pairs: PairDifferences, images: int) -> np.ndarray:
    """Which pairs have a bootstrap: from those with the fewest deviating images on, pairs leave until constant
    resamples are rare."""
    enough = (pairs.others >= FEWEST) & (pairs.deviation > 0)
    constant = np.where(enough, (1 - pairs.others / images) ** images, 0.0)
    order = np.argsort(constant, kind="stable")
    rare = np.empty(len(order), bool)
    rare[order] = np.cumsum(constant[order]) <= CONSTANT
    return enough & rare


def _tail_of_one_value(scores: np.ndarray, pairs: PairDifferences, width: float) -> np.ndarray:
    """p of pairs with the same difference on nearly all images, (pairs,), for scores in a range of that width.

    If the mean difference is not above zero, a difference of at least c > 0 has a probability of at most w / (w + c),
    as no difference is below -w (Markov); so the number of images with one has a binomial tail.
    """
    from scipy.stats import binom

    sign = np.sign(pairs.mode)
    differences = differences_of(scores, pairs.first, pairs.second) * sign
    margin = TIE * max(1.0, np.abs(scores).max())
    number = (differences >= np.abs(pairs.mode) - margin).sum(axis=0)
    return 2 * binom.sf(number - 1, len(scores), width / (width + np.abs(pairs.mode)))
