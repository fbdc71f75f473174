"""A comparison of designs from boards that results folders already have: nothing is trained or computed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xaibench import registry
from xaibench.analysis.boards import accuracy_of
from xaibench.analysis.stored import StoredResults
from xaibench.analysis.study import Study
from xaibench.cards import ComparisonCard, ComparisonProtocol
from xaibench.comparison.config import ComparisonConfig
from xaibench.comparison.run import ArmRun, joined_arguments, run_arguments, study_of, title_of
from xaibench.comparison.steps import Step, steps
from xaibench.comparison.stored_training import StoredTrainings
from xaibench.comparison.weights import arguments_of_run
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.stored import stored_board


def stored_comparison(config: ComparisonConfig, results: StoredResults) -> Iterator[Study]:
    """The study of each protocol of a request, from the trainings of its arms that are stored.

    Protocols without a pair of arms are left out, and trainings that are not stored are named in the study's notes.
    Raises XaibenchError where no pair of arms is stored under any.
    """
    card = registry.card("comparison", config.comparison)
    todo, pairs = steps(card, config)
    found, protocols = False, card.choose_protocols(config.protocols)
    trainings = StoredTrainings(results, title_of(card, config))
    for protocol in protocols:
        runs: dict[str, list[ArmRun]] = {}
        lacking: dict[str, list[int]] = {}
        notes: list[str] = []
        for step in todo:
            own = _own_arguments(card, step, config)
            if own is None:  # the same weights as before
                continue
            request = _request(card, protocol, config, own)
            if step.training:
                board, note = trainings.board(step, request)
                notes += [note] if note else []
            else:
                board = stored_board(results.boards, request)
            if board is None:
                lacking.setdefault(step.name, []).append(step.number)
                continue
            leaderboard = results.open(board, protocol.metric or None)
            arm_run = ArmRun(leaderboard, accuracy_of(board.run), trainings.seconds(step))
            runs.setdefault(step.name, []).append(arm_run)
        notes += [f"not stored: {name}, {_trainings(numbers)}" for name, numbers in lacking.items()]
        if not any(set(pair) <= runs.keys() for pair in pairs):
            continue
        found = True
        ordered = {name: runs[name] for name in dict.fromkeys(step.name for step in todo) if name in runs}
        yield study_of(card, protocol, ordered, pairs, config, list(dict.fromkeys(notes)))
    if not found:
        names = " and ".join(protocol.description for protocol in protocols)
        raise XaibenchError(
            f"{results.root} has no two arms of the comparison {card.name} under {names}; make them with `xaibench "
            f"compare {card.name}`"
        )


def _trainings(numbers: list[int]) -> str:
    """Such as `training 3` and `trainings 1, 2`."""
    return f"training{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _own_arguments(card: ComparisonCard, step: Step, config: ComparisonConfig) -> dict[str, Any] | None:
    """The arguments of the run of a step, without weights that a task trains; None where its weights are those of
    number 0."""
    return step.run_arguments if step.training else arguments_of_run(card, step, config)


def _request(
    card: ComparisonCard, protocol: ComparisonProtocol, config: ComparisonConfig, own: dict[str, Any]
) -> RunConfig:
    """The request of the run that `run_comparison` would make of a step; own: its arguments."""
    arguments = joined_arguments(run_arguments(card, protocol, config, quiet=True), own)
    fields = {name: value for name, value in arguments.items() if name in RunConfig.model_fields}
    return RunConfig.parse(fields | {"protocols": [protocol.protocol]})
