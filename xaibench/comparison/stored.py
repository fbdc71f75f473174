"""A comparison of designs from boards that a results folder already has: nothing is trained or computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from xaibench import registry
from xaibench.analysis.boards import Board, accuracy_of
from xaibench.analysis.leaderboard import Leaderboard, open_board
from xaibench.analysis.study import Study
from xaibench.cards import ComparisonCard, ComparisonProtocol
from xaibench.comparison.config import ComparisonConfig
from xaibench.comparison.run import ArmRun, joined_arguments, run_arguments, study_of
from xaibench.comparison.steps import steps
from xaibench.comparison.weights import arguments_of_run
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.stored import stored_board
from xaibench.results.store import Store


def stored_comparison(
    config: ComparisonConfig, store: Store, boards: Sequence[Board],
    opened: Callable[[Board, str | None], Leaderboard] | None = None,
) -> Iterator[Study]:  # fmt: skip
    """The study of each protocol of a request, from the trainings of its arms that are stored.

    boards: those of the store. opened: gives the leaderboard of a board by a metric, where some are open already.
    Trainings that are not stored are named in the study's notes. Raises XaibenchError where
    no pair of arms is stored: nobody knows the weights of arms that are trained for a task without training them, so
    their boards are not found.
    """
    card = registry.card("comparison", config.comparison)
    todo, pairs = steps(card, config)
    for protocol in card.choose_protocols(config.protocols):
        runs: dict[str, list[ArmRun]] = {}
        lacking = []
        for step in todo:
            own = None if step.training else arguments_of_run(card, step, config)
            if own is None and not step.training:  # the same weights as before
                continue
            board = None if own is None else stored_board(boards, _request(card, protocol, config, own))
            if board is None:
                lacking.append(step.description)
                continue
            leaderboard = (opened or partial(open_stored, store))(board, protocol.metric or None)
            runs.setdefault(step.name, []).append(ArmRun(leaderboard, accuracy_of(board.run)))
        notes = [f"not stored: {', '.join(lacking)}"] if lacking else []
        if not any(set(pair) <= runs.keys() for pair in pairs):
            raise XaibenchError(
                f"{store.root} has no two arms of the comparison {card.name} under {protocol.description}; make them "
                f"with `xaibench compare {card.name} --out {store.root}`"
            )
        yield study_of(card, protocol, runs, pairs, config, notes)


def open_stored(store: Store, board: Board, metric: str | None = None) -> Leaderboard:
    """The leaderboard of a board by one of its metrics, whose rows are read again where they are needed."""
    return open_board(store, board, metric=metric, newest=registry.shipped_version, others=False)


def _request(
    card: ComparisonCard, protocol: ComparisonProtocol, config: ComparisonConfig, own: dict[str, Any]
) -> RunConfig:
    """The request of the run that `run_comparison` would make of a step; own: its arguments."""
    arguments = joined_arguments(run_arguments(card, protocol, config, quiet=True), own)
    fields = {name: value for name, value in arguments.items() if name in RunConfig.model_fields}
    return RunConfig.parse(fields | {"protocols": [protocol.protocol]})
