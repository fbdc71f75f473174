"""What the card of a comparison of designs may say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from xaibench.cards.part import Card, Part


class ComparisonArm(Part):
    """One side of a comparison of designs."""

    model: str = ""
    """The model; empty: each of the comparison's models."""
    weights: str = ""
    """`plain` or `aligned`; empty: what the protocol needs."""
    settings: dict[str, Any] = {}
    """Settings of the protocol."""
    recipe: dict[str, Any] = {}
    """Fields of the recipe by which the model is trained that differ from the data set's."""
    way: str = ""
    """What the arm is trained for, as in `xaibench train TASK`; empty: classification, by the data set's recipe."""
    start: str = ""
    """The arm from whose weights it is trained further, where that arm has a recipe of its own."""
    options: dict[str, Any] = {}
    """The options of that task, as of its command, with `_` for `-`."""
    training: int | None = Field(None, ge=0)
    """The seed of its one training; none: as many trainings as `--trainings` says."""


class ComparisonProtocol(Part):
    """A protocol that evaluates the arms of a comparison."""

    protocol: str
    settings: dict[str, Any] = {}
    """Of the protocol."""
    metric: str = ""
    """A further metric of the protocol; empty: its main one."""
    images: int | None = Field(None, ge=1)
    """How many; none: what the profile says."""

    @property
    def description(self) -> str:
        """Such as `obey, normalisation raw, intensity`."""
        settings = (f"{name} {value}" for name, value in self.settings.items())
        return ", ".join(word for word in (self.protocol, *settings, self.metric) if word)


class ComparisonCard(Card):
    """A design choice (`xaibench compare NAME`): arms that differ in it, and which of them are compared."""

    kind: ClassVar[str] = "comparison"
    question: str
    """The question that it answers."""
    claim: str = ""
    """What the paper says of it."""
    pairs: tuple[tuple[str, str], ...] = Field(min_length=1)
    """Arms that are compared, each with the choice that is the less and the more; changes are of the second."""
    arms: dict[str, ComparisonArm] = {}
    """What an arm is; an arm that is not here is the model of its name."""
    models: tuple[str, ...] = ()
    """The models of arms that name none, if --model does not."""
    judges: tuple[ComparisonProtocol, ...] = Field((ComparisonProtocol(protocol="idsds"),), min_length=1)
    """The protocols that evaluate the arms, if --protocol does not say."""
    dataset: str = "critters"
    """The data set, if --dataset does not say."""
    methods: tuple[str, ...] = ()
    """The methods, if --methods does not say; those that do not fit a model are left out. Empty: the paper's list
    and the controls."""

    def arm(self, name: str) -> ComparisonArm:
        """What the arm of a name is."""
        return self.arms.get(name) or ComparisonArm(model=name)

    def choose_protocols(self, names: Sequence[str] | None) -> list[ComparisonProtocol]:
        """The protocols of these names, with the settings that the card has for them; by default all of the card's."""
        if not names:
            return list(self.judges)
        known = [one for one in self.judges if one.protocol in names]
        others = [name for name in names if name not in {one.protocol for one in known}]
        return known + [ComparisonProtocol(protocol=name) for name in others]
