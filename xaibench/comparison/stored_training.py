"""Boards of arms that are trained for a task: found by what records of runs say of the training of their weights.

Nobody knows the digest of such weights without training them. But the record of a run holds the header of its weights:
model, data, recipe, task, seed, and the digest of the weights that the training started from. All but the last follow
from the request. Those it starts from are the comparison's baseline of the same seed, one for all arms; where any board
has that baseline, the digest must be the board's.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xaibench.analysis.boards import Board
from xaibench.analysis.stored import StoredResults
from xaibench.comparison.steps import Step
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.stored import stored_boards, stored_boards_of_training
from xaibench.files import read_json
from xaibench.results.records import VALUES, Amount, Count, Text
from xaibench.training.api import fields_without_start
from xaibench.training.arm import arm_fields
from xaibench.training.subject import Subject

LIMIT = 64 << 20  # bytes of the JSON of a comparison


@dataclass(frozen=True)
class StoredTrainings:
    """The trainings of the arms of a comparison in results folders; title: of the comparison."""

    results: StoredResults
    title: str

    def boards_of(self, asked: Sequence[tuple[Step, RunConfig]]) -> list[tuple[Board | None, str]]:
        """The newest board of each step, None where none is stored, and a note on what is taken for granted.

        Arms that start from the baseline of one model and seed are those of one baseline: of one that a board has where
        any does, and of the one from which most of them are stored.
        """
        every = [self._boards(step, request) for step, request in asked]
        answers: list[tuple[Board | None, str]] = [(next(iter(found), None), "") for found in every]
        groups: dict[tuple, list[int]] = {}
        for place, (step, _) in enumerate(asked):
            if starts_from_baseline(step):
                groups.setdefault(group_of(step), []).append(place)
        for places in groups.values():
            known = self._baselines(asked[places[0]][0])
            common = _commonest([every[place] for place in places], _start)
            starts = [start for start in common if not known or start in known]
            for place in places:
                board = next((board for board in every[place] if _start(board) == starts[0]), None) if starts else None
                taken = f"{asked[place][0].name}: the weights it starts from are not stored, and taken for the baseline"
                answers[place] = board, "" if known or board is None else f"{taken} of the comparison"
        return answers

    def _boards(self, step: Step, request: RunConfig) -> list[Board]:
        """The boards of a step, whatever weights its training started from, newest first."""
        wanted = _plain(arm_fields(step.training))
        return stored_boards_of_training(self.results.boards, request, lambda training: _agrees(training, wanted))

    def _baselines(self, step: Step) -> set[str]:
        """Digests of the weights of the baseline that a step starts from, as far as boards have them."""
        try:
            wanted = _plain(
                fields_without_start(Subject(step.training, step.baseline_recipe).baseline_config(step.number))
            )
        except XaibenchError:  # no baseline is trained for this model
            return set()
        return {
            board.context["weights"]["digest"]
            for board in self.results.boards
            if board.context.get("weights") and board.run and _agrees(board.run.training or {}, wanted)
            and "task" not in board.run.training
        }  # fmt: skip

    def seconds(self, step: Step) -> float:
        """Of an epoch of a step's training, as a published comparison of the same title says; NaN where none does."""
        return self._seconds.get((step.name, step.number), float("nan"))

    @cached_property
    def _seconds(self) -> dict[tuple[str, int], float]:
        found: dict[tuple[str, int], float] = {}
        for store in self.results.stores:
            for path in sorted((store.root / "comparisons").glob("*.json")):
                try:
                    record = _Published.model_validate(read_json(path, LIMIT))
                except (XaibenchError, ValidationError):  # no comparison; `xaibench validate` says so
                    continue
                if record.title.startswith(f"{self.title} · "):
                    for row in record.trainings:
                        if row.epoch_seconds is not None:
                            found.setdefault((row.arm, row.training), row.epoch_seconds)
        return found


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)
    arm: Text
    training: Count
    epoch_seconds: Amount | None = None


class _Published(BaseModel):
    """What is read of the JSON of a comparison in a board folder."""

    model_config = ConfigDict(extra="ignore", strict=True)
    title: Text
    trainings: Annotated[list[_Row], Field(max_length=VALUES)]


def starts_from_baseline(step: Step) -> bool:
    """Whether the training of a step starts from other weights of the comparison, and not from scratch."""
    return step.training is not None and arm_fields(step.training)["recipe"].get("start") == "plain"


def group_of(step: Step) -> tuple:
    """What steps share whose weights belong together: a baseline and those that start from it, and arms that ask for
    the same weights, as they differ in settings alone."""
    if step.is_baseline or starts_from_baseline(step):
        return step.model, step.number
    if step.training:
        return step.model, step.number, step.name
    asked = step.run_arguments
    settings = asked.get("settings", {})
    weights = [asked.get("recipe"), asked.get("weights"), asked.get("image_size")]
    weights += [settings.get(name) for name in ("grid", "baseline")]  # networks are aligned with these
    return step.model, step.number, json.dumps(weights, sort_keys=True)


def of_one_network(asked: Sequence[tuple[Step, RunConfig]], boards: Sequence[Board]) -> list[Board | None]:
    """The newest board of each step that no task trains, None where none is stored; of steps that share their weights
    those of one network, which most of them have."""
    every = [stored_boards(boards, request) for _, request in asked]
    groups: dict[tuple, list[int]] = {}
    for place, (step, _) in enumerate(asked):
        groups.setdefault(group_of(step), []).append(place)
    found: list[Board | None] = [None] * len(asked)
    for places in groups.values():
        chosen = _commonest([every[place] for place in places], _network)
        for place in places:
            found[place] = next((board for board in every[place] if _network(board) == chosen[0]), None)
    return found


def _commonest(every: Sequence[Sequence[Board]], of: Callable[[Board], str | None]) -> list[str | None]:
    """What steps with these boards, newest first, share: that of the most steps first, of as many the newest."""
    counts = Counter(one for boards in every for one in dict.fromkeys(map(of, boards)))
    return [one for one, _ in counts.most_common()]


def _network(board: Board) -> str | None:
    return (board.context.get("weights") or {}).get("digest")


def _start(board: Board) -> str | None:
    return (board.run.training or {}).get("start")


def _agrees(training: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(training.get(name) == value for name, value in wanted.items())


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON gives them back."""
    return json.loads(json.dumps(fields))
