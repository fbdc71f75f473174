"""Carrying out a comparison of designs: every arm and training is a run, and what is stored is not run again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xaibench import registry
from xaibench.analysis.boards import accuracy_of
from xaibench.analysis.comparison import Arm
from xaibench.analysis.study import Study, make_study
from xaibench.cards import ComparisonArm, ComparisonCard
from xaibench.errors import XaibenchError

if TYPE_CHECKING:
    from xaibench.analysis.leaderboard import Leaderboard


@dataclass(frozen=True)
class Step:
    """One training of one arm: what `xaibench.run` is asked for beside what all steps share."""

    arm: str
    training: int
    asked: dict[str, Any]

    @property
    def words(self) -> str:
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
                    found.append(Step(named(name, model), training if own is None else own, _asked(arm, model)))
    for model in {step.asked["model"] for step in found}:
        if ":" not in model:
            registry.card("model", model)
    return found, [(named(a, model), named(b, model)) for model in chosen for a, b in card.pairs]


def _asked(arm: ComparisonArm, model: str) -> dict[str, Any]:
    asked = {"model": arm.model or model, "settings": arm.settings, "recipe": arm.recipe, "weights": arm.weights}
    return {name: value for name, value in asked.items() if value}


def carry_out(
    card: ComparisonCard, protocol: str, *, models: Sequence[str] | None = None, trainings: int = 3,
    settings: dict[str, Any] | None = None, say: Callable[[str], None] = lambda words: None, **shared: Any,
) -> Study:  # fmt: skip
    """Runs what a comparison lacks, and compares.

    settings and shared are given to every `xaibench.run`; those of an arm come first. say is told of every step before
    it begins. A method that fails is left out, and a note says so; anything else that a run raises is raised.
    """
    from xaibench.engine.api import MethodFailed, run

    todo, pairs = steps(card, models, trainings)
    boards: dict[str, list[Leaderboard]] = {step.arm: [] for step in todo}
    accuracies: dict[str, list[tuple[float, str]]] = {step.arm: [] for step in todo}
    notes = []
    for number, step in enumerate(todo, 1):
        say(f"{card.name} {number}/{len(todo)}: {step.words}")
        asked = shared | step.asked | {"settings": (settings or {}) | step.asked.get("settings", {})}
        try:
            results = run(protocol, training_seed=step.training or None, **asked)
        except MethodFailed as error:
            results = error.results
            notes.append(f"{step.words}: {error}")
        boards[step.arm].append(results.leaderboard(protocol))
        accuracies[step.arm].append(accuracy_of(results.manifest))
    arms = {name: _arm(name, found, accuracies[name]) for name, found in boards.items()}
    return make_study(card, boards, arms, pairs, notes)


def _arm(name: str, boards: list[Leaderboard], accuracies: list[tuple[float, str]]) -> Arm:
    """The trainings of an arm over the images and methods that all of them have."""
    scores = [board.image_scores() for board in boards]
    whole = [frame.loc[:, frame.notna().all()] for frame in scores]
    methods = sorted(set.intersection(*(set(frame.columns) for frame in whole)))
    images = sorted(set.intersection(*(set(frame.index) for frame in whole)))
    if not methods or not images:
        raise XaibenchError(f"no method has a score for every image in the runs of {name}")
    kinds = dict(zip(boards[0].table["method"], boards[0].table["kind"], strict=True))
    return Arm(
        name,
        np.stack([frame.loc[images, methods].to_numpy(float) for frame in whole]),
        tuple(methods),
        tuple(kinds[method] for method in methods),
        tuple(images),
        tuple(value for value, _ in accuracies),
        accuracies[0][1],
    )
