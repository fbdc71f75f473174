"""Letters for groups of methods that cannot be told apart: two methods share a letter if and only if they are not.

A compact letter display (Piepho, Journal of Computational and Graphical Statistics 2004). Groups cover the pairs
greedily (after Gramm et al., Computational Statistics and Data Analysis 2008): to find the fewest takes too long.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def letters(better: np.ndarray, order: Sequence[int]) -> list[str]:
    """The letters of each method, such as `a` or `bc`; the first method has an `a`.

    Args:
        better: (methods, methods) bool, whether the method of a row is surely better than that of a column.
        order: the methods from first to last, by place.

    After `z` come `a2` to `z2`, then `a3`.
    """
    alike = ~(better | better.T)[np.ix_(order, order)]
    missing = alike.copy()
    groups: list[list[int]] = []
    for first in range(len(order)):
        while missing[first, first:].any():
            group = _group(alike, missing, first)
            missing[np.ix_(group, group)] = False
            groups.append(group)
    texts = [""] * len(order)
    for number, group in enumerate(groups):
        for place in group:
            texts[order[place]] += _letter(number)
    return texts


def _group(alike: np.ndarray, missing: np.ndarray, first: int) -> list[int]:
    """A largest group of methods that are all alike, with `first` and one that it shares no group with yet."""
    last = first + int(missing[first, first:].argmax())
    group = sorted({first, last})
    # Those that need the group come before those that only fit, the next in order first.
    for wanted in (missing[first], alike[first]):
        for other in np.flatnonzero(wanted):
            if other not in group and alike[other, group].all():
                group.append(int(other))
    return sorted(group)


def _letter(number: int) -> str:
    turn, place = divmod(number, 26)
    return chr(ord("a") + place) + (str(turn + 1) if turn else "")
