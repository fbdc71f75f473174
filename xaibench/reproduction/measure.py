"""What a study is decided by: boards and comparisons that are stored, or computed where they are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from xaibench import registry
from xaibench.analysis.boards import accuracy_of
from xaibench.analysis.comparison import ENOUGH
from xaibench.analysis.stored import StoredResults
from xaibench.analysis.study import Study
from xaibench.analysis.verdicts import Measured
from xaibench.cards import StudyCard, StudyScale
from xaibench.comparison.config import ComparisonConfig
from xaibench.comparison.run import run_lacking
from xaibench.comparison.stored import is_lacking, stored_comparison
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.stored import stored_board
from xaibench.reproduction.prepare import prepare


def run_requests(one: StudyScale, **changes: object) -> dict[str, RunConfig]:
    """The runs of a scale by name; changes: fields that replace those of the card."""
    return {name: RunConfig.parse({**fields, **changes}, f"run {name}") for name, fields in one.runs.items()}


def comparison_requests(one: StudyScale, trainings: int = 0, **changes: object) -> dict[str, ComparisonConfig]:
    """The comparisons of a scale by name; changes: fields that replace those of the card. trainings: how many of each
    arm; 0 for as many as the card has."""
    requests = {
        name: ComparisonConfig.parse({**fields, **changes}, f"comparison {name}")
        for name, fields in one.comparisons.items()
    }
    return {name: each.model_copy(update={"trainings": trainings or each.trainings}) for name, each in requests.items()}


def compute(
    card: StudyCard, one: StudyScale, out: Path, quiet: bool, report: Callable[[str], None], also: Sequence[Path],
    trainings: int = 0, **changes: object,
) -> None:  # fmt: skip
    """Runs what a study lacks in a results folder and in others (also).

    What they have is not run again; arms of a comparison that start from one baseline are run together. trainings: as
    of `comparison_requests`. Raises XaibenchError for what `prepare`, runs and comparisons raise.
    """
    from xaibench.evaluation.api import run

    elsewhere, requests = StoredResults(*also), run_requests(one, out=out, **changes)
    requests = {name: one for name, one in requests.items() if stored_board(elsewhere.boards, one) is None}
    prepare(card, one, requests.values(), models_beside_runs(one), quiet, report, **changes)
    for number, (name, request) in enumerate(requests.items(), 1):
        report(f"{card.name}, run {number}/{len(requests)}: {name}")
        run(request, quiet=quiet)
    for comparison in comparison_requests(one, trainings, out=out, **changes).values():
        run_lacking(comparison, is_lacking(comparison, stored_in(out, also)), quiet, report)


def stored_in(out: Path, also: Sequence[Path]) -> StoredResults:
    """What a results folder, which may not be there yet, and others have."""
    folders = [out] if (out / "rows").is_dir() else []
    return StoredResults(*folders, *also, newest=registry.shipped_version)


class StoredStudies:
    """Comparisons of results folders, each made once however many studies rest on it. counted: how many trainings of an
    arm count where they are stored, though a card has fewer, as a paper's."""

    def __init__(self, results: StoredResults, counted: int = ENOUGH):
        self.results, self.counted = results, counted
        self._found: dict[str, list[Study] | XaibenchError] = {}

    def of(self, request: ComparisonConfig) -> list[Study]:
        """The study of each protocol of a request; XaibenchError where nothing of it is stored."""
        key = request.to_toml()
        if key not in self._found:
            try:
                self._found[key] = list(stored_comparison(request, self.results, self.counted))
            except XaibenchError as error:
                self._found[key] = error
        found = self._found[key]
        if isinstance(found, XaibenchError):
            raise found
        return found


def measured(one: StudyScale, stored: StoredStudies, data_root: Path | None = None) -> Measured:
    """What results folders have of a study. data_root: the folder of the images, for data sets that know groups of
    them."""
    results = stored.results
    opened, accuracies, lacking = {}, {}, {}
    studies: dict[str, list[Study]] = {}
    for name, request in run_requests(one).items():
        board = stored_board(results.boards, request)
        if board is None:
            lacking[name] = f"not run in {results.root}: {name}"
            continue
        opened[name], accuracies[name] = results.open(board), accuracy_of(board.run)[0]
    for name, comparison in comparison_requests(one, data_root=data_root).items():
        try:
            studies[name] = stored.of(comparison)
        except XaibenchError as error:
            lacking[name] = str(error)
    models = {name: models_of(comparison) for name, comparison in comparison_requests(one).items()}
    return Measured(opened, accuracies, studies, lacking, models)


def models_of(comparison: ComparisonConfig) -> tuple[str, ...]:
    """The models that a comparison is about."""
    return comparison.models or registry.card("comparison", comparison.comparison).models


def models_beside_runs(one: StudyScale) -> Iterator[str]:
    """The models of comparisons and of figures of images."""
    for comparison in comparison_requests(one).values():
        yield from models_of(comparison)
    for sheet in one.sheets.values():
        yield from sheet.comparison.get("models", [])
        yield from (fields["model"] for fields in sheet.networks.values())
