"""A comparison of designs from boards that results folders already have: nothing is trained or computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from xaibench import registry
from xaibench.analysis.boards import Board, accuracy_of
from xaibench.analysis.stored import StoredResults
from xaibench.analysis.study import Study
from xaibench.cards import ComparisonCard, ComparisonProtocol
from xaibench.comparison.config import ComparisonConfig
from xaibench.comparison.run import ArmRun, joined_arguments, run_arguments, study_of, title_of
from xaibench.comparison.steps import Step, steps
from xaibench.comparison.stored_training import StoredTrainings, group_of, of_one_network
from xaibench.comparison.weights import arguments_of_run
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig


@dataclass(frozen=True)
class StoredStep:
    """A training of an arm under a protocol, and its board; None where none is stored. note: what is taken for granted.
    seconds: of an epoch, NaN where unknown."""

    step: Step
    board: Board | None
    note: str
    seconds: float


def stored_steps(
    config: ComparisonConfig, results: StoredResults
) -> Iterator[tuple[ComparisonProtocol, list[StoredStep]]]:
    """For each protocol of a request every step with the board that is stored of it; nothing is opened."""
    card = registry.card("comparison", config.comparison)
    trainings = StoredTrainings(results, title_of(card, config))
    todo, _ = steps(card, config)
    for protocol in card.choose_protocols(config.protocols):
        asked = []
        for step in todo:
            own = _own_arguments(card, step, config)
            if own is not None:  # None: the same weights as before
                asked.append((step, request_of(card, protocol, config, own)))
        trained = iter(trainings.boards_of([one for one in asked if one[0].training]))
        others = iter(of_one_network([one for one in asked if not one[0].training], results.boards))
        found = []
        for step, _ in asked:
            board, note = next(trained) if step.training else (next(others), "")
            found.append(StoredStep(step, board, note, trainings.seconds(step)))
        yield protocol, found


def stored_comparison(config: ComparisonConfig, results: StoredResults, counted: int = 0) -> Iterator[Study]:
    """The study of each protocol of a request, from the trainings of its arms that are stored.

    Protocols without a pair of arms are left out, and trainings that are not stored are named in the study's notes.
    counted: how many trainings of an arm count where they are stored, though the request asks for fewer. Raises
    XaibenchError where no pair of arms is stored under any.
    """
    card = registry.card("comparison", config.comparison)
    _, pairs = steps(card, config)
    without = []
    for protocol, every in stored_steps(
        config.model_copy(update={"trainings": max(config.trainings, counted)}), results
    ):
        found = [one for one in every if one.board or one.step.number < config.trainings]
        arms = {one.step.name for one in found if one.board}
        if not any(set(pair) <= arms for pair in pairs):
            without.append(protocol.description)
            continue
        runs: dict[str, list[ArmRun]] = {name: [] for name in dict.fromkeys(one.step.name for one in found)}
        for one in found:
            if one.board:
                leaderboard = results.open(one.board, protocol.metric or None)
                runs[one.step.name].append(ArmRun(leaderboard, accuracy_of(one.board.run), one.seconds))
        notes = list(dict.fromkeys(one.note for one in found if one.note))
        notes += [f"not stored: {text}" for text in lacking_trainings(found)]
        yield study_of(card, protocol, {name: own for name, own in runs.items() if own}, pairs, config, notes)
    if len(without) == len(card.choose_protocols(config.protocols)):
        raise XaibenchError(
            f"no two arms of the comparison {card.name} under {' and '.join(without)} are stored in {results.root}; "
            f"make them with `xaibench compare {card.name}`"
        )


def is_lacking(config: ComparisonConfig, results: StoredResults) -> Callable[[Step], bool]:
    """Whether a step has no board under some protocol of a request, or any step whose weights belong to its own."""
    lacking = {group_of(one.step) for _, found in stored_steps(config, results) for one in found if one.board is None}
    return lambda step: group_of(step) in lacking


def lacking_trainings(found: Iterable[StoredStep]) -> list[str]:
    """The trainings without a board, by arm, such as `Energy, trainings 1, 2`."""
    lacking: dict[str, list[int]] = {}
    for one in found:
        if one.board is None:
            lacking.setdefault(one.step.name, []).append(one.step.number)
    return [f"{name}, {_trainings(numbers)}" for name, numbers in lacking.items()]


def _trainings(numbers: list[int]) -> str:
    """Such as `training 3`, `trainings 1, 3` and `trainings 0 to 4`."""
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"trainings {numbers[0]} to {numbers[-1]}"
    return f"training{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _own_arguments(card: ComparisonCard, step: Step, config: ComparisonConfig) -> dict[str, Any] | None:
    """The arguments of the run of a step, without weights that a task trains; None where its weights are those of
    number 0."""
    return step.run_arguments if step.training else arguments_of_run(card, step, config)


def request_of(
    card: ComparisonCard, protocol: ComparisonProtocol, config: ComparisonConfig, own: dict[str, Any]
) -> RunConfig:
    """The request of the run that `run_comparison` would make of a step; own: its arguments."""
    arguments = joined_arguments(run_arguments(card, protocol, config, quiet=True), own)
    fields = {name: value for name, value in arguments.items() if name in RunConfig.model_fields}
    return RunConfig.parse(fields | {"protocols": [protocol.protocol]})
