"""The weights of the steps of a comparison: looked up or trained once, before any protocol runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xaibench import registry
from xaibench.cards import ComparisonCard
from xaibench.comparison.config import ComparisonConfig
from xaibench.comparison.steps import Step
from xaibench.errors import XaibenchError
from xaibench.training.config import TrainingConfig

if TYPE_CHECKING:
    from xaibench.training.resources import TrainingResources


@dataclass(frozen=True)
class Prepared:
    """A step whose weights are there, or which a run finds or trains.

    arguments: those of `xaibench.run` in which it differs from other steps. seconds: of an epoch of its training,
    without evaluation; NaN where it was not trained for a task of its own.
    """

    step: Step
    arguments: dict[str, Any]
    seconds: float = float("nan")


def prepare(
    card: ComparisonCard, todo: Sequence[Step], config: ComparisonConfig, resources: TrainingResources,
    report: Callable[[str], None],
) -> tuple[list[Prepared], list[str]]:  # fmt: skip
    """The steps with weights, and notes on those that are left out.

    A guided training in which no epoch can be chosen is left out; anything else that a training raises is raised, and
    mistakes in any arm before the first training begins.
    """
    from xaibench.training.arm import NoEpochChosen, train_arm
    from xaibench.training.subject import Subject

    for step in todo:
        if step.training:
            _check(step)
    found, notes = [], []
    trained = [step for step in todo if step.training]
    for step in todo:
        if step.training:
            report(f"{card.name}, weights {trained.index(step) + 1}/{len(trained)}: {step.description}")
            try:
                weights = train_arm(Subject(step.training, step.baseline_recipe), resources, report)
            except NoEpochChosen as error:
                notes.append(f"{step.description} is left out: {error}")
                continue
            found.append(Prepared(step, step.run_arguments | {"weights": str(weights.weights)}, weights.seconds))
        elif (arguments := arguments_of_run(card, step, config)) is not None:
            found.append(Prepared(step, arguments))
    return found, notes


def arguments_of_run(card: ComparisonCard, step: Step, config: ComparisonConfig) -> dict[str, Any] | None:
    """The arguments of `xaibench.run` of a step that no task trains; None where its weights are those of number 0."""
    arguments = step.run_arguments
    if arguments.get("weights", "plain") == "plain" and _is_given(card, step, config):
        arguments.pop("recipe", None)
    elif registry.card("dataset", config.dataset or card.dataset).recipe:  # a run on it trains what it lacks
        return arguments | {"training_seed": step.number or None}
    return arguments if step.number == 0 else None


def seconds_of_plain(step: Step, config: ComparisonConfig) -> float:
    """The seconds of an epoch of plain weights that a run found or trained; NaN where they were trained elsewhere."""
    from xaibench.training.api import plan_training
    from xaibench.training.arm import epoch_seconds

    data = config.dataset or registry.card("comparison", config.comparison).dataset
    fields = {
        "model": step.model, "dataset": data, "data_root": config.data_root, "recipe": step.arm.recipe,
        "dataset_options": config.dataset_options, "image_size": step.arm.image_size, "seed": step.number,
    }  # fmt: skip
    try:
        path = plan_training(TrainingConfig.parse(fields, f"arm {step.name}")).path
    except XaibenchError:  # these weights come from elsewhere
        return float("nan")
    return epoch_seconds(path) if path.is_file() and step.arm.weights in ("", "plain") else float("nan")


def _check(step: Step) -> None:
    """Raises XaibenchError where the options of an arm make no task."""
    try:
        step.training.make_task()
    except XaibenchError as error:
        raise XaibenchError(f"arm {step.name}: {error}") from None


def _is_given(card: ComparisonCard, step: Step, config: ComparisonConfig) -> bool:
    """Whether other arms start from this one, of a model that has weights: then it has no recipe and no seeds."""
    from xaibench.training.subject import has_weights

    return step.is_baseline and has_weights(step.model, config.dataset or card.dataset)
