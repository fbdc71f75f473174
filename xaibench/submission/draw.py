"""Which results of a submission are computed again, and how likely a forgery is among them.

The seed is made of the submission's hash and a number that is drawn after it came: whoever packs it cannot know which
rows are looked at, and everybody can draw them again from the record.
"""

from __future__ import annotations

import hashlib
import math
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np

from xaibench.errors import XaibenchError
from xaibench.results.replays import FRESH

Pair = TypeVar("Pair")
SHARE, PROBABILITY = 0.2, 0.95
"""Enough of a result is replayed where a forgery of this share of it is found with this probability."""


@dataclass(frozen=True)
class Draw:
    """How many results are drawn (None: all), by which number, and where that is from.

    fresh: 32 to 128 hex digits that nobody knew when the submission was packed. Without it, whoever replays draws one,
    and could draw until it pleases: `of_public` is of one that was published after the submission, for all to see.
    """

    count: int | None
    fresh: str = field(default_factory=lambda: secrets.token_hex(16))
    source: Literal["drawn", "given"] = "drawn"

    @classmethod
    def of_public(cls, count: int | None, fresh: str) -> Draw:
        """A draw by a public number; raises XaibenchError for what is none of 32 to 128 hex digits."""
        if not re.fullmatch(FRESH, fresh.lower()):
            raise XaibenchError(f"--fresh is 32 to 128 hex digits, such as the hash of a commit, not {fresh[:40]!r}")
        return cls(count, fresh.lower(), "given")


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


def needed(results: int) -> int:
    """Of how many of the results of one method at least one of SHARE forged ones is found with PROBABILITY.

    Examples:
        >>> from xaibench.submission.draw import needed
        >>> [needed(n) for n in (1, 4, 8, 32, 100, 1000)]
        [1, 4, 6, 11, 13, 14]
    """
    forged = math.ceil(SHARE * results)
    return next(n for n in range(results + 1) if detection_probability(results, forged, n) >= PROBABILITY)
