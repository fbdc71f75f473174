"""Carrying out a comparison of designs: every arm and training is a run, and what is stored is not run again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xaibench import registry
from xaibench.analysis.arm import Arm
from xaibench.analysis.boards import accuracy_of
from xaibench.analysis.study import Study, make_study
from xaibench.attribution.methods import incompatibility
from xaibench.cards import ComparisonCard, ComparisonProtocol
from xaibench.comparison.steps import Step, steps
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError
from xaibench.models.open import model_card

if TYPE_CHECKING:
    import pandas as pd

    from xaibench.analysis.leaderboard import Leaderboard
    from xaibench.evaluation.api import Results
    from xaibench.training.arm import Trained
    from xaibench.training.task import Task


def run(
    card: ComparisonCard, judge: ComparisonProtocol, *, models: Sequence[str] | None = None, trainings: int = 3,
    settings: dict[str, Any] | None = None, recipe: dict[str, Any] | None = None,
    say: Callable[[str], None] = lambda words: None, **shared: Any,
) -> Study:  # fmt: skip
    """Runs what a comparison lacks, and compares.

    settings and shared are given to every `xaibench.run`; those of an arm come first, those of the judge last, and
    where shared has no methods, dataset or number of images the card's or the judge's are taken. recipe changes how
    arms are trained that are trained in a way of their own. say is told of every step before it begins. A method that
    fails is left out, and so is a guided training of which no epoch may be judged, and a note says so; anything else
    that a run or a training raises is raised.
    """
    from xaibench.evaluation.api import MethodFailed, run
    from xaibench.training.arm import NothingToJudge

    todo, pairs = steps(card, models, trainings)
    defaults = {"dataset": card.dataset, "images": judge.images}
    shared |= {name: value for name, value in defaults.items() if shared.get(name) is None}
    tasks = {step.arm: _task(step) for step in todo if step.way}  # mistakes are found before anything is trained
    found: dict[str, list[Judged]] = {step.arm: [] for step in todo}
    notes = []
    for number, step in enumerate(todo, 1):
        say(f"{card.name} {number}/{len(todo)}: {step.description}")
        asked = shared | step.asked
        asked["settings"] = judge.settings | (settings or {}) | step.asked.get("settings", {})
        asked["methods"] = asked.get("methods") or _fitting(card.methods, step.asked["model"])
        seconds = float("nan")
        if step.arm in tasks:
            try:
                trained = _train(step, tasks[step.arm], recipe or {}, shared, say)
            except NothingToJudge as error:
                notes.append(f"{step.description} is left out: {error}")
                continue
            asked["weights"], seconds = str(trained.weights), trained.seconds
        elif step.asked.get("weights", "plain") == "plain" and _given(card, step, shared):
            if step.training:
                continue  # the same weights again
            asked.pop("recipe", None)
        else:
            asked["training_seed"] = step.training or None
        try:
            results = run(judge.protocol, **asked)
        except MethodFailed as error:
            results = error.results
            notes.append(f"{step.description}: {error}")
        found[step.arm].append(Judged(_board(results, judge), results, seconds))
    groups = _groups(shared)
    arms = {name: _arm(name, judged, groups) for name, judged in found.items() if judged}
    boards = {name: [one.board for one in found[name]] for name in arms}
    pairs = [pair for pair in pairs if set(pair) <= arms.keys()]
    if not pairs:
        raise XaibenchError(f"comparison {card.name} has no pair of arms left to compare: {'; '.join(notes)}")
    comparable = registry.card("protocol", judge.protocol).comparable_across_models
    return make_study(card, boards, arms, pairs, notes, judge.description, comparable=comparable)


CHOOSE = "choose"
"""An option of guided arms that is no part of the training: which epoch is judged."""


@dataclass(frozen=True)
class Judged:
    """One training after its run; seconds of an epoch are NaN where it was not trained in a way of its own."""

    board: Leaderboard
    results: Results
    seconds: float

    @property
    def answers(self) -> pd.Series:
        """Whether the model is right, by image id; null where that is not known."""
        return self.results.rows.groupby("image_id")["correct"].first()


def _given(card: ComparisonCard, step: Step, shared: dict[str, Any]) -> bool:
    """Whether a step is the start of others, of a model whose weights are given: it has no recipe and no seeds."""
    from xaibench.training.subject import has_weights

    starts = {arm.start for arm in card.arms.values()}
    return step.arm.rpartition(": ")[2] in starts and has_weights(step.asked["model"], shared["dataset"])


def _board(results: Results, judge: ComparisonProtocol) -> Leaderboard:
    from xaibench.analysis.leaderboard import open_leaderboard

    board = results.boards[judge.protocol]
    return open_leaderboard(results.path, judge.protocol, board=board, metric=judge.metric or None)


def _task(step: Step) -> Task:
    """What a step is trained for; B-cos networks are guided by their own attribution where the card names none."""
    from xaibench.training.tasks import task_of

    family = model_card(step.asked["model"]).family
    usual = {"attribution": "b-cos"} if step.way == "guided" and family == "bcos" else {}
    try:
        return task_of(step.way, usual | {name: value for name, value in step.options.items() if name != CHOOSE})
    except XaibenchError as error:
        raise XaibenchError(f"arm {step.arm}: {error}") from None


def _train(step: Step, task: Task, recipe: dict[str, Any], shared: dict[str, Any], say: Callable) -> Trained:
    """The weights of a step, which are trained where they are not there."""
    from xaibench.evaluation.resources import choose_device, choose_workers
    from xaibench.training.arm import train_arm
    from xaibench.training.subject import Subject

    device = choose_device(shared.get("device", "auto"))
    subject = Subject(
        step.asked["model"], shared["dataset"], shared.get("data_root"), shared.get("dataset_options") or {},
        step.recipe | recipe, download=shared.get("download", False), first=step.first,
    )  # fmt: skip
    workers = choose_workers(shared.get("workers", "auto"), device)
    return train_arm(
        subject, task, step.training, choose=step.options.get(CHOOSE, "epg"), say=say, workers=workers, device=device,
        quiet=shared.get("quiet", False),
    )  # fmt: skip


def _fitting(methods: Sequence[str], model: str) -> list[str] | None:
    """Those of a card's methods that fit a model by its card; None, the default list, for none."""
    family = model_card(model).family
    cards = [registry.card("method", name).for_family(family) for name in methods]
    return [card.name for card in cards if not incompatibility(card, family, has_cam_layer=True)] or None


def _groups(shared: dict[str, Any]) -> Callable[[str], str]:
    """The group of an image id; "" for data sets whose groups are not said to matter (tag `groups`)."""
    data = registry.card("dataset", shared["dataset"])
    if "groups" not in data.tags:
        return lambda image_id: ""
    return open_dataset(data, shared.get("data_root"), shared.get("dataset_options") or {}).group


def _arm(name: str, judged: Sequence[Judged], group: Callable[[str], str]) -> Arm:
    """The trainings of an arm over the images and methods that all of them have."""
    scores = [one.board.image_scores() for one in judged]
    whole = [frame.loc[:, frame.notna().all()] for frame in scores]
    methods = sorted(set.intersection(*(set(frame.columns) for frame in whole)))
    images = sorted(set.intersection(*(set(frame.index) for frame in whole)))
    if not methods or not images:
        raise XaibenchError(f"no method has a score for every image in the runs of {name}")
    table = judged[0].board.table
    kinds = dict(zip(table["method"], table["kind"], strict=True))
    answers = [one.answers.reindex(images) for one in judged]
    known = not any(each.isna().any() for each in answers)
    groups = tuple(group(image) for image in images)
    accuracies = [accuracy_of(one.results.manifest) for one in judged]
    return Arm(
        name,
        np.stack([frame.loc[images, methods].to_numpy(float) for frame in whole]),
        tuple(methods),
        tuple(kinds[method] for method in methods),
        tuple(images),
        tuple(value for value, _ in accuracies),
        accuracies[0][1],
        np.stack([each.to_numpy(bool) for each in answers]) if known else None,
        groups if any(groups) else (),
        tuple(one.seconds for one in judged),
    )
