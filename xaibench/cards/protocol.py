"""The card of a protocol."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from xaibench.cards.part import Card, Part


class FurtherMetric(Part):
    """A score that a protocol stores besides its main one."""

    range: tuple[float, float] | None = None
    """The lowest and the highest score; without this field it is unbounded."""
    higher_is_better: bool | None = None
    """The direction of the score; none: it has no better end, and nothing is ranked by it."""
    undefined_cost: float = 0.0
    """The score of a map that cannot be scored."""


class ProtocolCard(Card):
    """A protocol. Its target is a class; its parameters are the settings."""

    kind: ClassVar[str] = "protocol"
    weights: Literal["plain", "aligned"] = "plain"
    """The weights that it evaluates by default."""
    metric: str
    """The name of the score."""
    range: tuple[float, float]
    """The lowest and the highest score."""
    higher_is_better: bool
    """The direction of the score."""
    undefined_cost: float
    """The score of a map that cannot be scored: the chance level."""
    comparable_across_models: bool
    """Whether scores of different models may be compared."""
    further: dict[str, FurtherMetric] = {}
    """Scores that it stores besides the main one, by name; `xaibench leaderboard --metric` shows them."""

    @property
    def category(self) -> str:
        """The folder of `xaibench/protocols/` with its class, such as `localization`; "" for classes outside of
        xaibench."""
        found = re.fullmatch(r"xaibench\.protocols\.(\w+)\.\w+:\w+", self.target)
        return found[1] if found else ""
