"""What a claim of a paper and a verdict on it are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from xaibench.analysis.leaderboard import Leaderboard
from xaibench.analysis.study import Study

State = Literal["shows", "does not show", "cannot be told"]
SHOWS, NOT, UNTOLD = "shows", "does not show", "cannot be told"


class ClaimText(Protocol):
    """The fields of a claim that are read here; `cards.Claim` has them."""

    name: str
    text: str
    statistic: str
    run: str
    other: str
    comparison: str
    protocol: str
    pairs: Sequence[tuple[str, str]]
    methods: Sequence[str]
    group: Sequence[str]
    direction: str
    bound: float | None
    low: float | None
    high: float | None
    by: str
    groups: Sequence[str]
    metric: str
    per_root: bool
    other_protocol: str
    why: str


@dataclass(frozen=True)
class Verdict:
    """A claim and what is known of it: state, and the numbers that it rests on."""

    claim: str
    text: str
    state: State
    why: str


@dataclass(frozen=True)
class Measured:
    """What claims are decided by: boards by name, accuracies of their models in [0, 1] (NaN where unknown), and the
    studies of each comparison. lacking: why a board or comparison is not there, by name. models: those of a comparison
    that has several, by its name."""

    boards: Mapping[str, Leaderboard]
    accuracies: Mapping[str, float]
    studies: Mapping[str, Sequence[Study]]
    lacking: Mapping[str, str]
    models: Mapping[str, Sequence[str]] = field(default_factory=dict)


def names_of(claim: ClaimText) -> list[str]:
    """The boards and comparisons that a claim rests on."""
    of_pairs = [name.partition("@")[2] for pair in claim.pairs for name in pair if not claim.comparison]
    return list(dict.fromkeys(filter(None, [claim.run, claim.other, claim.comparison, *of_pairs])))


def in_range(claim: ClaimText, what: str, value: float, low: float, high: float) -> tuple[State, str]:
    """Whether a number with its 95 % interval is where a claim says: above 0, below 0 (`direction`), or between `low`
    and `high`, so that `hardly changes` can show. It shows where all of the interval is there, and does not where none
    of it is."""
    bounded = claim.low is not None or claim.high is not None
    if bounded:
        least, most = (-np.inf if claim.low is None else claim.low), (np.inf if claim.high is None else claim.high)
    else:
        least, most = (0.0, np.inf) if claim.direction == "up" else (-np.inf, 0.0)
    why = f"{what}: {value:+.3f} [{low:+.3f}, {high:+.3f}]"
    if bounded:
        why += f", claimed between {least:g} and {most:g}".replace("between -inf and", "at most").replace(
            " and inf", ""
        )
    if not (np.isfinite(low) and np.isfinite(high)):
        return UNTOLD, f"{what}: {value:+.3f} without an interval"
    if low > least and high < most:
        return SHOWS, why
    if high < least or low > most:
        return NOT, why
    return UNTOLD, why if bounded else f"{why}; 0 is inside"


def all_of(parts: Sequence[tuple[State, str]]) -> tuple[State, str]:
    """One verdict of several parts."""
    states = [state for state, _ in parts]
    state = NOT if NOT in states else SHOWS if set(states) == {SHOWS} else UNTOLD
    return state, "; ".join(why for _, why in parts)
