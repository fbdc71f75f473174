"""The steps of a comparison of designs: one for each arm and training; and which arms are compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from xaibench import registry
from xaibench.cards import ComparisonArm, ComparisonCard
from xaibench.comparison.config import ComparisonConfig
from xaibench.errors import XaibenchError
from xaibench.models.open import model_card
from xaibench.training.config import TrainingConfig


@dataclass(frozen=True)
class Step:
    """One training of one arm.

    name: the arm's, with the model's where the comparison is for several. number: the seed of the training. training:
    the request of an arm that is trained for a task of its own; None where a run finds or trains its weights.
    baseline_recipe: how the baseline of that training is trained, of an arm that starts from another one. is_baseline:
    whether other arms start from this one.
    """

    name: str
    number: int
    arm: ComparisonArm
    model: str
    training: TrainingConfig | None = None
    baseline_recipe: dict[str, Any] = field(default_factory=dict)
    is_baseline: bool = False

    @property
    def description(self) -> str:
        """Such as `resnet50, training 1`."""
        return f"{self.name}, training {self.number}"

    @property
    def run_arguments(self) -> dict[str, Any]:
        """The arguments of `xaibench.run` in which this step differs from others."""
        recipe = {} if self.training else self.arm.recipe
        arm = self.arm
        arguments = {
            "settings": arm.settings, "recipe": recipe, "weights": arm.weights, "image_size": arm.image_size,
        }  # fmt: skip
        return {"model": self.model} | {name: value for name, value in arguments.items() if value}


def steps(card: ComparisonCard, config: ComparisonConfig) -> tuple[list[Step], list[tuple[str, str]]]:
    """The steps of a comparison, the first training of every arm first, and the pairs of arms that it compares.

    The models of the request are those of arms that name none; with several, every pair is compared for each. Raises
    XaibenchError for models that no arm needs, for names that are unknown, and for options that no task has.
    """
    names = list(dict.fromkeys(name for pair in card.pairs for name in pair))
    open_arms = any(not card.arm(name).model for name in names)
    if config.models and not open_arms:
        raise XaibenchError(f"comparison {card.name} names its models itself; leave out --model")
    chosen = list(config.models or card.models) if open_arms else [""]
    if not chosen:
        raise XaibenchError(f"comparison {card.name} needs --model")

    def named(arm: str, model: str) -> str:
        return f"{model}: {arm}" if len(chosen) > 1 else arm

    found = []
    for training in range(config.trainings):
        for model in chosen:
            for name in names:
                own = card.arm(name).training
                if own is None or training == 0:
                    number = training if own is None else own
                    found.append(_step(card, config, named(name, model), card.arm(name), model, number))
    return found, [(named(a, model), named(b, model)) for model in chosen for a, b in card.pairs]


def _step(
    card: ComparisonCard, config: ComparisonConfig, name: str, arm: ComparisonArm, model: str, number: int
) -> Step:
    model = arm.model or model
    if ":" not in model:
        registry.card("model", model)  # raises for a name that is unknown
    if not arm.way:
        starts = {other.start for other in card.arms.values()}
        return Step(name, number, arm, model, is_baseline=name.rpartition(": ")[2] in starts)
    # B-cos networks are guided by their own attribution, unless the card names another
    usual = {"attribution": "b-cos"} if arm.way == "guided" and model_card(model).family == "bcos" else {}
    same = ("data_root", "dataset_options", "download", "device", "workers", "plugins", "cards")
    fields = {key: getattr(config, key) for key in same} | {
        "task": arm.way, "model": model, "dataset": config.dataset or card.dataset, "seed": number,
        "task_options": usual | arm.options, "recipe": arm.recipe | config.recipe, "image_size": arm.image_size,
    }  # fmt: skip
    first = card.arm(arm.start).recipe if arm.start else {}
    return Step(name, number, arm, model, TrainingConfig.parse(fields, f"arm {name}"), first)
