"""Which results of a submission are computed again, and how likely a forgery is among them.

The seed is made of the submission's hash and a number that is drawn after it came: whoever packs it cannot know which
rows are looked at, and everybody can draw them again from the record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Pair = TypeVar("Pair")


def seed_of(submission: str, fresh: str) -> int:
    """The seed of a draw, 0 to 2**256 - 1, from the submission's hash and the number that was drawn after it."""
    return int(hashlib.sha256(f"{submission}:{fresh}".encode()).hexdigest(), 16)


def drawn(pairs: Sequence[Pair], count: int | None, seed: int) -> list[Pair]:
    """count of the pairs, all equally likely, without repetition, in their order; all of them for None or more."""
    if count is None or count >= len(pairs):
        return list(pairs)
    chosen = np.random.default_rng(seed).choice(len(pairs), count, replace=False)
    return [pairs[index] for index in sorted(chosen)]


def detection_probability(results: int, forged: int, replayed: int) -> float:
    """How likely at least one of the forged results is among those that are replayed, in [0, 1].

    Hypergeometric: 1 - C(results - forged, replayed) / C(results, replayed). Every replayed forgery counts as found: a
    score changed by less than the tolerance is none.

    Examples:
        >>> from xaibench.submission.draw import detection_probability
        >>> detection_probability(4, 1, 2), round(detection_probability(1000, 50, 20), 3)
        (0.5, 0.645)
        >>> detection_probability(1000, 10, 1000)
        1.0
    """
    if not (0 <= forged <= results and 0 <= replayed <= results):
        raise ValueError(f"of {results} results not {forged} can be forged and {replayed} replayed")
    missed = 1.0
    for number in range(replayed):
        missed *= max(results - forged - number, 0) / (results - number)
    return 1 - missed
