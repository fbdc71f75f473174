"""Runs a comparison of designs: every arm and training is a run, and what is stored is not run again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xaibench import registry
from xaibench.analysis.arm import Arm
from xaibench.analysis.boards import accuracy_of
from xaibench.analysis.study import Study, make_study
from xaibench.attribution.methods import incompatibility
from xaibench.cards import ComparisonCard, ComparisonProtocol
from xaibench.comparison.config import ComparisonConfig
from xaibench.comparison.steps import Step, steps
from xaibench.comparison.weights import Prepared, prepare, seconds_of_plain
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError
from xaibench.models.open import model_card

if TYPE_CHECKING:
    import pandas as pd

    from xaibench.analysis.leaderboard import Leaderboard
    from xaibench.evaluation.api import Results


@dataclass(frozen=True)
class ArmRun:
    """One training of an arm after its run.

    accuracy: of the model in [0, 1], NaN where unknown, and on what. seconds: of an epoch, NaN where unknown
    or no arm of the comparison is trained for a task.
    """

    board: Leaderboard
    accuracy: tuple[float, str]
    seconds: float = float("nan")

    @property
    def correct(self) -> pd.Series:
        """Whether the model is right, by image id; null where that is not known."""
        source = self.board.require_source()
        rows = source.rows
        return rows[rows["image_id"].isin(set(source.images))].groupby("image_id")["correct"].first()


def run_comparison(
    config: ComparisonConfig, quiet: bool = False, report: Callable[[str], None] = lambda line: None
) -> Iterator[Study]:
    """Trains and evaluates what a comparison lacks, and yields the study of each protocol as soon as it is there.

    Weights are looked up or trained once, before the first protocol runs. report is given a line before each step. A
    method that fails is left out, and so is a guided training in which no epoch can be chosen, and a note of the study
    says so; anything else that a run or a training raises is raised. Raises XaibenchError where no pair is left.
    """
    for done in _run_protocols(config, quiet, report, lambda step: True):
        yield study_of(done.card, done.protocol, done.runs, done.pairs, config, done.notes)


def run_lacking(
    config: ComparisonConfig, lacking: Callable[[Step], bool], quiet: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> None:  # fmt: skip
    """Trains and evaluates the steps of a comparison that are lacking, as `run_comparison`, and makes no study: what
    is left out is told to report."""
    for done in _run_protocols(config, quiet, report, lacking):
        for note in done.notes:
            report(note)


@dataclass(frozen=True)
class _Done:
    """What was run under a protocol: the runs of each arm, the pairs of the comparison, and notes."""

    card: ComparisonCard
    protocol: ComparisonProtocol
    runs: dict[str, list[ArmRun]]
    pairs: list[tuple[str, str]]
    notes: list[str]


def _run_protocols(
    config: ComparisonConfig, quiet: bool, report: Callable[[str], None], wanted: Callable[[Step], bool]
) -> Iterator[_Done]:
    """Prepares the steps that are wanted, and runs them under one protocol after the other."""
    from xaibench.evaluation.resources import training_resources
    from xaibench.plugins import add

    add(config.plugins, config.cards)
    card = registry.card("comparison", config.comparison)
    protocols = card.choose_protocols(config.protocols)
    every, pairs = steps(card, config)
    todo = [step for step in every if wanted(step)]
    if not todo:
        return
    for protocol in protocols:
        _check_held_out(card, protocol, config)
    resources = training_resources(config.device, config.workers, quiet)
    prepared, notes = prepare(card, todo, config, resources, report)
    order = list(dict.fromkeys(step.name for step in todo))
    for protocol in protocols:
        arguments = run_arguments(card, protocol, config, quiet)
        runs, failed = _run_arms(card, protocol, prepared, config, arguments, report)
        runs = {name: runs[name] for name in order if name in runs}
        yield _Done(card, protocol, runs, pairs, [*notes, *failed])


def _check_held_out(card: ComparisonCard, protocol: ComparisonProtocol, config: ComparisonConfig) -> None:
    """Raises XaibenchError where a protocol is fitted to more held-out images than there are, before hours pass."""
    from xaibench.evaluation.held_out import HeldOut
    from xaibench.evaluation.resolve import protocol_settings
    from xaibench.protocols.api import make_protocol

    judge = registry.card("protocol", protocol.protocol)
    (settings,) = protocol_settings([judge], protocol.settings | config.settings)
    if count := make_protocol(judge, settings).held_out_images:
        data = registry.card("dataset", config.dataset or card.dataset)
        dataset = open_dataset(data, config.data_root, config.dataset_options, "validation")
        HeldOut(dataset, dataset.image_list()).first(count)


def study_of(
    card: ComparisonCard, protocol: ComparisonProtocol, runs: dict[str, list[ArmRun]],
    pairs: Sequence[tuple[str, str]], config: ComparisonConfig, notes: Sequence[str] = (),
) -> Study:  # fmt: skip
    """The study of the runs of each arm under a protocol; XaibenchError where no pair has both of its arms."""
    group, unknown = _groups(card, config)
    arms = {name: _arm(name, runs[name], group) for name in runs}
    left = [pair for pair in pairs if set(pair) <= arms.keys()]
    if not left:
        raise XaibenchError(f"comparison {card.name} has no pair of arms left to compare: {'; '.join(notes)}")
    boards = {name: [one.board for one in runs[name]] for name in arms}
    card = card.model_copy(update={"title": title_of(card, config)})
    comparable = registry.card("protocol", protocol.protocol).comparable_across_models
    return make_study(card, boards, arms, left, [*notes, *unknown], protocol.description, comparable=comparable)


def title_of(card: ComparisonCard, config: ComparisonConfig) -> str:
    """The card's title, with the models where they are others than the card's: that is another comparison."""
    if config.models and set(config.models) != set(card.models):
        return f"{card.title} ({', '.join(config.models)})"
    return card.title


def run_arguments(
    card: ComparisonCard, protocol: ComparisonProtocol, config: ComparisonConfig, quiet: bool
) -> dict[str, Any]:
    """The arguments of `xaibench.run` that all steps share; those of the request come before those of the card."""
    same = (
        "data_root", "profile", "out", "device", "workers", "dataset_options", "seed", "download", "plugins", "cards",
    )  # fmt: skip
    return {name: getattr(config, name) for name in same} | {
        "dataset": config.dataset or card.dataset, "images": config.images or protocol.images,
        "methods": list(config.methods) or None, "settings": protocol.settings | config.settings, "quiet": quiet,
    }  # fmt: skip


def joined_arguments(shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the run of a step: those of all steps (`run_arguments`) and its own, which come first."""
    return shared | own | {"settings": shared["settings"] | own.get("settings", {})}


def _run_arms(
    card: ComparisonCard, protocol: ComparisonProtocol, prepared: Sequence[Prepared], config: ComparisonConfig,
    shared: dict[str, Any], report: Callable[[str], None],
) -> tuple[dict[str, list[ArmRun]], list[str]]:  # fmt: skip
    """The runs of each arm under a protocol, and notes on methods that failed."""
    from xaibench.evaluation.api import MethodFailed, run

    found: dict[str, list[ArmRun]] = {}
    notes = []
    any_trained = any(one.step.training for one in prepared)
    for number, one in enumerate(prepared, 1):
        report(f"{card.name} {number}/{len(prepared)}: {one.step.description}")
        arguments = joined_arguments(shared, one.arguments)
        arguments["methods"] = arguments["methods"] or _fitting(card.methods, one.step.model)
        try:
            results = run(protocol.protocol, **arguments)
        except MethodFailed as error:
            results = error.results
            notes.append(f"{one.step.description}: {error}")
        board = _board(results, protocol)
        if board.age:  # of rows of methods that this comparison did not ask for
            notes.append(f"{one.step.description}: {board.age}")
        seconds = one.seconds if one.step.training or not any_trained else seconds_of_plain(one.step, config)
        run_of_arm = ArmRun(board, accuracy_of(results.manifest), seconds)
        found.setdefault(one.step.name, []).append(run_of_arm)
    return found, notes


def _board(results: Results, protocol: ComparisonProtocol) -> Leaderboard:
    from xaibench.analysis.leaderboard import open_leaderboard

    board = results.boards[protocol.protocol]
    return open_leaderboard(
        results.path, protocol.protocol, board=board, metric=protocol.metric or None, newest=registry.shipped_version
    )


def _fitting(methods: Sequence[str], model: str) -> list[str] | None:
    """Those of a card's methods that fit a model by its card; None, the default list, for none."""
    family = model_card(model).family
    cards = [registry.card("method", name).for_family(family) for name in methods]
    return [card.name for card in cards if not incompatibility(card, family, has_cam_layer=True)] or None


def _groups(card: ComparisonCard, config: ComparisonConfig) -> tuple[Callable[[str], str], list[str]]:
    """The group of an image id, and notes; "" where the data set has no groups, and, with a note, where the folder that
    tells them is not named."""
    data = registry.card("dataset", config.dataset or card.dataset)
    if "groups" not in data.tags:
        return lambda image_id: "", []
    if data.needs_root and config.data_root is None:  # results of others are read
        return lambda image_id: "", [f"the groups of images of {data.name} are not known without --data-root"]
    return open_dataset(data, config.data_root, config.dataset_options).group, []


def _arm(name: str, runs: Sequence[ArmRun], group: Callable[[str], str]) -> Arm:
    """The trainings of an arm over the images and methods that all of them have."""
    scores = [one.board.image_scores() for one in runs]
    whole = [frame.loc[:, frame.notna().all()] for frame in scores]
    methods = sorted(set.intersection(*(set(frame.columns) for frame in whole)))
    images = sorted(set.intersection(*(set(frame.index) for frame in whole)))
    if not methods or not images:
        raise XaibenchError(f"no method has a score for every image in the runs of {name}")
    table = runs[0].board.table
    kinds = dict(zip(table["method"], table["kind"], strict=True))
    correct = [one.correct.reindex(images) for one in runs]
    known = not any(each.isna().any() for each in correct)
    groups = tuple(group(image) for image in images)
    accuracies = [one.accuracy for one in runs]
    return Arm(
        name,
        np.stack([frame.loc[images, methods].to_numpy(float) for frame in whole]),
        tuple(methods),
        tuple(kinds[method] for method in methods),
        tuple(images),
        tuple(value for value, _ in accuracies),
        accuracies[0][1],
        np.stack([each.to_numpy(bool) for each in correct]) if known else None,
        groups if any(groups) else (),
        tuple(one.seconds for one in runs),
    )
