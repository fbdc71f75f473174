"""What a claim of a paper and a verdict on it are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

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
    group: str
    direction: str
    bound: float | None
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


def all_of(parts: Sequence[tuple[State, str]]) -> tuple[State, str]:
    """One verdict of several parts."""
    states = [state for state, _ in parts]
    state = NOT if NOT in states else SHOWS if set(states) == {SHOWS} else UNTOLD
    return state, "; ".join(why for _, why in parts)
