"""The steps of a comparison of designs: every arm and training is one, and which arms are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from xaibench import registry
from xaibench.cards import ComparisonArm, ComparisonCard
from xaibench.errors import XaibenchError


@dataclass(frozen=True)
class Step:
    """One training of one arm: what `xaibench.run` is asked for beside what all steps share.

    way, options and recipe are those of an arm that is trained in a way of its own, first the recipe of the arm that it
    starts from.
    """

    arm: str
    training: int
    asked: dict[str, Any]
    way: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    first: dict[str, Any] = field(default_factory=dict)

    @property
    def description(self) -> str:
        """Such as `resnet50, training 1`."""
        return f"{self.arm}, training {self.training}"


def steps(card: ComparisonCard, models: Sequence[str] | None, trainings: int) -> tuple[list[Step], list[tuple]]:
    """The steps of a comparison, the first training of every arm first, and the pairs of arms that it compares.

    models are those of arms that name none; with several, every pair is compared for each. Raises XaibenchError for
    models that nothing asks for, and for names that are unknown.
    """
    names = list(dict.fromkeys(name for pair in card.pairs for name in pair))
    open_arms = any(not card.arm(name).model for name in names)
    if models and not open_arms:
        raise XaibenchError(f"comparison {card.name} names its models itself; leave out --model")
    chosen = list(models or card.models) if open_arms else [""]
    if not chosen:
        raise XaibenchError(f"comparison {card.name} needs --model")

    def named(arm: str, model: str) -> str:
        return f"{model}: {arm}" if len(chosen) > 1 else arm

    found = []
    for training in range(trainings):
        for model in chosen:
            for name in names:
                arm = card.arm(name)
                own = arm.training
                if own is None or training == 0:
                    number = training if own is None else own
                    first = card.arm(arm.start).recipe if arm.start else {}
                    trained = (arm.way, arm.options, arm.recipe, first) if arm.way else ()
                    found.append(Step(named(name, model), number, _asked(arm, model), *trained))
    for model in {step.asked["model"] for step in found}:
        if ":" not in model:
            registry.card("model", model)
    return found, [(named(a, model), named(b, model)) for model in chosen for a, b in card.pairs]


def _asked(arm: ComparisonArm, model: str) -> dict[str, Any]:
    recipe = {} if arm.way else arm.recipe
    asked = {"model": arm.model or model, "settings": arm.settings, "recipe": recipe, "weights": arm.weights}
    return {name: value for name, value in asked.items() if value}
