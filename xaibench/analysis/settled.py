"""Whether the order of methods on a finite list of images is settled by the images seen so far, at any time one looks.

What is estimated is each method's mean over the images of the list that have a defined reference, for the model at
hand; other images are not spoken of. `log_wealth` gives the evidence for each pair of methods.

Why few tests are paid for. Let t be the K methods in their true order, exact ties in any fixed order, and s an order
whose first k places are reported because each of them is better than every later one by a test of its own. If s and t
differ first in place i <= k, then s_i = t_j with j > i, and t_(j-1) comes later in s, so the test that says
t_j > t_(j-1) is wrong: one of K - 1 tests. If they do not differ, only an exact tie can be wrong, and then the test
that says t_i > t_(i+1) is, for an i <= k. So the report is wrong with probability K - 1 + min(k, K - 1) times the level
of one test at most, whichever pairs were looked at. With a margin any pair may wrongly be called equivalent, so all
K (K - 1) sides of pairs are paid for; both claims of a side (better; not worse by more than the margin) err together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from xaibench.analysis.confidence_sequences import TIE, log_wealth

OPEN, SETTLED, EXHAUSTED, NOT_SETTLED = "open", "settled", "exhausted", "not settled"


@dataclass(frozen=True)
class Settlement:
    """What is known of an order after some images of a list.

    outcome: `open`; `settled` before the list ended; `exhausted`: all images of the list were needed, on which the
    order is known without a test; `not settled`: on the whole list some methods tie exactly, or no image counts.
    order: all methods by their mean so far, best first. first: how many places are asked for. seen, listed, counted:
    images seen, on the list, and seen with a defined reference. undecided: pairs that are asked for and not decided
    (better so far, other, difference of means), the closest first; after the whole list those that tie exactly.
    equivalent: pairs asked for that differ by the margin at most and are not told apart. pairs: how many are asked for.
    """

    outcome: str
    order: tuple[str, ...]
    first: int
    seen: int
    listed: int
    counted: int
    undecided: tuple[tuple[str, str, float], ...]
    equivalent: tuple[tuple[str, str], ...]
    pairs: int

    @property
    def over(self) -> bool:
        """Whether more images would change nothing."""
        return self.outcome != OPEN


def number_of_tests(methods: int, first: int, margin: float | None) -> int:
    """By how many one-sided tests a report of the first places of `methods` can be wrong; see above."""
    return methods * (methods - 1) if margin is not None else methods - 1 + min(first, methods - 1)


def settle(
    scores: pd.DataFrame,
    listed: int,
    *,
    reach: float,
    higher: bool,
    first: int,
    confidence: float,
    margin: float | None = None,
) -> Settlement:
    """What is known of the first places after the images of `scores`.

    The probability that this ever returns `settled` with a wrong report (a pair in the wrong order or exactly tied, or
    a pair called equivalent that differs by more than the margin) is at most 1 - confidence over orders of the list,
    however often it is called on more of its images.

    Args:
        scores: (seen images in the list's order, methods), two methods or more; NaN in all of a row where the image's
            reference is undefined.
        listed: images on the whole list.
        reach: width of the range of scores: no two on one image differ by more.
        higher: whether higher scores are better.
        first: how many places are asked for, 1 or more.
        confidence: in (0, 1). margin: in the unit of the scores, in (0, reach), or None.

    Raises ValueError for a row with some scores only, more images than `listed`, or scores further apart than `reach`.
    """
    values = scores.to_numpy(dtype=np.float64) * (1 if higher else -1)
    defined = ~np.isnan(values).any(axis=1)
    if (np.isnan(values).any(axis=1) != np.isnan(values).all(axis=1)).any():
        raise ValueError("an image has scores of some methods only")
    means = values[defined].mean(axis=0) if defined.any() else np.zeros(values.shape[1])
    names = list(map(str, scores.columns))
    order = sorted(range(len(names)), key=lambda at: (-means[at], names[at]))
    above, below = np.triu_indices(len(order), 1)
    above, below = above[above < first], below[above < first]
    better, worse = np.array(order, dtype=int)[above], np.array(order, dtype=int)[below]
    gaps = means[better] - means[worse]
    if len(values) == listed:
        apart = gaps > TIE * reach
        close = gaps <= (margin if margin is not None else -1.0)
    else:
        needed = np.log(number_of_tests(len(order), first, margin) / (1 - confidence))
        # an image without a reference counts 0, which leaves the sign of the mean over the list as it is
        differences = np.where(defined[:, None], values[:, better] - values[:, worse], 0.0)
        apart = _reached(differences, listed, reach, needed)
        close = np.zeros_like(apart)
        if margin is not None:
            shift = margin * defined[:, None]
            both = [_reached(shift + sign * differences, listed, reach - margin, needed) for sign in (1, -1)]
            close = both[0] & both[1]
    undecided = ~(apart | close) | (not defined.any())
    pairs = [(names[a], names[b], float(gap)) for a, b, gap in zip(better, worse, gaps, strict=True)]
    left = sorted((pair for pair, still in zip(pairs, undecided, strict=True) if still), key=lambda pair: pair[2])
    equal = [pair[:2] for pair, a, c in zip(pairs, apart, close, strict=True) if c and not a]
    outcome = _outcome(bool(left), len(values) == listed)
    return Settlement(
        outcome, tuple(names[at] for at in order), first, len(values), listed, int(defined.sum()), tuple(left),
        tuple(equal), len(pairs),
    )  # fmt: skip


def _reached(values: np.ndarray, listed: int, bound: float, needed: float) -> np.ndarray:
    """Whether the evidence that a mean is above 0 has ever reached what is needed, per column."""
    if not len(values):
        return np.zeros(values.shape[1], dtype=bool)
    return log_wealth(values, listed, bound)[-1] >= needed


def _outcome(left: bool, whole: bool) -> str:
    if whole:
        return NOT_SETTLED if left else EXHAUSTED
    return OPEN if left else SETTLED
