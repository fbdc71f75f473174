"""The card of a comparison of designs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from xaibench.cards.part import Card, Part


class ComparisonArm(Part):
    """One side of a comparison of designs."""

    model: str = ""
    """The model; empty: every model of the comparison."""
    weights: str = ""
    """`plain` or `aligned`; empty: those that the protocol needs."""
    settings: dict[str, Any] = {}
    """Settings of the protocol."""
    recipe: dict[str, Any] = {}
    """Fields of the recipe of the model's training that differ from the recipe of the data set."""
    way: str = ""
    """The task that the arm is trained for, as in `xaibench train TASK`; empty: classification, by the data set's
    recipe."""
    start: str = ""
    """The arm from whose weights it is trained further, where that arm has a recipe of its own."""
    options: dict[str, Any] = {}
    """The options of that task, as of its command, with `_` for `-`."""
    image_size: int | None = Field(None, ge=1)
    """The side of the images in pixels; none: that of the model and the data set."""
    training: int | None = Field(None, ge=0)
    """The seed of its single training; none: `--trainings` gives the number of trainings."""


class ComparisonProtocol(Part):
    """A protocol that evaluates the arms of a comparison."""

    protocol: str
    settings: dict[str, Any] = {}
    """Settings of the protocol."""
    metric: str = ""
    """A further metric of the protocol; empty: its main one."""
    images: int | None = Field(None, ge=1)
    """The number of images; none: that of the profile."""

    @property
    def description(self) -> str:
        """Such as `obey, normalisation raw, intensity`."""
        settings = (f"{name} {value}" for name, value in self.settings.items())
        return ", ".join(part for part in (self.protocol, *settings, self.metric) if part)


class ComparisonCard(Card):
    """A design choice (`xaibench compare NAME`): arms that differ in it, and which of them are compared."""

    kind: ClassVar[str] = "comparison"
    question: str
    """The question that it answers."""
    claim: str = ""
    """The claim of the paper about it."""
    pairs: tuple[tuple[str, str], ...] = Field(min_length=1)
    """Pairs of arms that are compared; changes are those of the second arm against the first."""
    confounded: tuple[str, ...] = ()
    """Properties of the networks that change together between its arms: it describes these networks, and claims nothing
    about a design, however many trainings there are."""
    arms: dict[str, ComparisonArm] = {}
    """Arms by name; an arm that is not listed is the model of its name."""
    models: tuple[str, ...] = ()
    """The models of arms without a model, unless --model gives others."""
    judges: tuple[ComparisonProtocol, ...] = Field((ComparisonProtocol(protocol="idsds"),), min_length=1)
    """The protocols that evaluate the arms, unless --protocol gives others."""
    dataset: str = "critters"
    """The data set, unless --dataset gives another."""
    methods: tuple[str, ...] = ()
    """The methods, unless --methods gives others; those that do not fit a model are left out. Empty: the paper's list
    and the controls."""

    def arm(self, name: str) -> ComparisonArm:
        """The arm of a name."""
        return self.arms.get(name) or ComparisonArm(model=name)

    def choose_protocols(self, names: Sequence[str] | None) -> list[ComparisonProtocol]:
        """The protocols of these names, with the settings that the card has for them; by default all of the card's."""
        if not names:
            return list(self.judges)
        known = [one for one in self.judges if one.protocol in names]
        others = [name for name in names if name not in {one.protocol for one in known}]
        return known + [ComparisonProtocol(protocol=name) for name in others]
