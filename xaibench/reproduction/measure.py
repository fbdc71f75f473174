"""What a study is decided by: boards and comparisons that are stored, or computed where they are missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.analysis.boards import accuracy_of
from xaibench.analysis.stored import StoredResults
from xaibench.analysis.study import Study
from xaibench.analysis.verdicts import Measured
from xaibench.cards import StudyCard, StudyScale
from xaibench.comparison.config import ComparisonConfig
from xaibench.comparison.run import run_comparison
from xaibench.comparison.stored import stored_comparison, stored_steps
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.stored import stored_board
from xaibench.training.config import TrainingConfig


def run_requests(one: StudyScale, **changes: object) -> dict[str, RunConfig]:
    """The runs of a scale by name; changes: fields that replace those of the card."""
    return {name: RunConfig.parse({**fields, **changes}, f"run {name}") for name, fields in one.runs.items()}


def comparison_requests(one: StudyScale, **changes: object) -> dict[str, ComparisonConfig]:
    """The comparisons of a scale by name; changes: fields that replace those of the card."""
    return {
        name: ComparisonConfig.parse({**fields, **changes}, f"comparison {name}")
        for name, fields in one.comparisons.items()
    }


def compute(
    card: StudyCard, one: StudyScale, out: Path, quiet: bool, report: Callable[[str], None], also: StoredResults,
    **changes: object,
) -> dict[str, list[Study]]:  # fmt: skip
    """Runs what a study lacks in a results folder, and gives the studies of the comparisons that it ran, by name.

    What the folder already has under the same result keys is not computed again, and a run or a whole comparison that
    other folders have (also) is not run. Raises XaibenchError where a model
    must be trained first, with the command, and what runs and comparisons raise.
    """
    from xaibench.evaluation.api import run

    for name, fields in one.trainings.items():
        if name not in registry.names("model"):
            raise XaibenchError(f"study {card.name} needs the model {name}: {training_command(name, fields)}")
    requests, found = run_requests(one, out=out, **changes), {}
    requests = {name: one for name, one in requests.items() if stored_board(also.boards, one) is None}
    for number, (name, request) in enumerate(requests.items(), 1):
        report(f"{card.name}, run {number}/{len(requests)}: {name}")
        run(request, quiet=quiet)
    for name, comparison in comparison_requests(one, out=out, **changes).items():
        if not _has_all(comparison, also):
            found[name] = list(run_comparison(comparison, quiet, report))
    return found


def _has_all(comparison: ComparisonConfig, results: StoredResults) -> bool:
    """Whether every training of a comparison is stored under every protocol."""
    if not results.boards:
        return False
    return all(step.board is not None for _, found in stored_steps(comparison, results) for step in found)


def training_command(name: str, fields: dict[str, Any]) -> str:
    """The command that trains a model under a name. Raises XaibenchError where the fields are no `TrainingConfig`."""
    config = TrainingConfig.parse(fields | {"name": name}, f"training {name}")
    options = [
        f"--{option.replace('_', '-')} {_word(value)}" for option, value in fields.get("task_options", {}).items()
    ]
    return " ".join(["xaibench train", config.task, *config.to_arguments(), *options])


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


class StoredStudies:
    """Comparisons of results folders, each made once however many studies rest on it."""

    def __init__(self, results: StoredResults):
        self.results = results
        self._found: dict[str, list[Study] | XaibenchError] = {}

    def of(self, request: ComparisonConfig) -> list[Study]:
        """The study of each protocol of a request; XaibenchError where nothing of it is stored."""
        key = request.to_toml()
        if key not in self._found:
            try:
                self._found[key] = list(stored_comparison(request, self.results))
            except XaibenchError as error:
                self._found[key] = error
        found = self._found[key]
        if isinstance(found, XaibenchError):
            raise found
        return found


def measured(one: StudyScale, stored: StoredStudies, computed: dict[str, list[Study]] | None = None) -> Measured:
    """What results folders have of a study; computed: studies of comparisons that were made just now."""
    results = stored.results
    opened, accuracies, lacking = {}, {}, {}
    studies: dict[str, list[Study]] = dict(computed or {})
    for name, request in run_requests(one).items():
        board = stored_board(results.boards, request)
        if board is None:
            lacking[name] = f"not run in {results.root}: {name}"
            continue
        opened[name], accuracies[name] = results.open(board), accuracy_of(board.run)[0]
    for name, comparison in comparison_requests(one).items():
        if name in studies:
            continue
        try:
            studies[name] = stored.of(comparison)
        except XaibenchError as error:
            lacking[name] = str(error)
    models = {name: _models(comparison) for name, comparison in comparison_requests(one).items()}
    return Measured(opened, accuracies, studies, lacking, models)


def _models(comparison: ComparisonConfig) -> tuple[str, ...]:
    return comparison.models or registry.card("comparison", comparison.comparison).models
