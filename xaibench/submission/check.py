"""What a board asks of a submission before anything of it is computed: all of it is read, nothing of it is run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from xaibench.errors import one_line
from xaibench.results.manifest import RunManifest, load_runs
from xaibench.results.parts import Parts
from xaibench.results.store import Store
from xaibench.results.validate import Problem, inspect
from xaibench.submission.archive import without_folder
from xaibench.submission.contexts import context_problems
from xaibench.submission.form import check_size, form_problems
from xaibench.submission.lists import FrozenLists, coverage_problems
from xaibench.submission.manifest import Submission, read_submission
from xaibench.submission.methods import brought_card, method_problems, source_problems
from xaibench.submission.rows import problems_with_board, row_problems
from xaibench.submission.texts import text_problems

NO_SUBMISSION = (KeyError, TypeError, AttributeError, ValueError, RecursionError, OverflowError)


@dataclass(frozen=True)
class Checked:
    """A submission that was read: what it says of itself, and every problem; none lets it be replayed and published.

    notes: what could not be checked, a line each.
    """

    submission: Submission
    problems: list[Problem]
    rows: int
    cells: int
    notes: list[str] = field(default_factory=list)


def check(root: Path, board: Path | None = None, data_root: Path | None = None) -> Checked:
    """Checks an unpacked submission (`archive.unpacked`).

    board: a board folder, whose image lists it must have and whose results it must not change. data_root: the photos
    of its data set, with whose list its own is compared. Raises XaibenchError where it cannot be read as a submission,
    and where the photos are not there.
    """
    submission = read_submission(root)
    check_size(Store.open(root))
    found = inspect(root)
    if found.problems:
        return Checked(submission, _told(found.problems, root), found.rows, found.cells)
    known = Store.open(board) if board is not None else None
    frozen = FrozenLists.of(known, data_root)
    try:
        problems = list(_problems(Store.open(root), submission, known, frozen))
    except NO_SUBMISSION as error:
        problems = [Problem("cells", "cell", f"a part of it is not what xaibench writes ({one_line(error)[:200]})")]
    return Checked(submission, _told(problems, root), found.rows, found.cells, list(dict.fromkeys(frozen.notes)))


def _told(problems: Iterable[Problem], root: Path) -> list[Problem]:
    return [replace(problem, text=without_folder(problem.text, root)) for problem in problems]


def _problems(store: Store, submission: Submission, board: Store | None, frozen: FrozenLists) -> Iterator[Problem]:
    cells, runs = store.cells(), load_runs(store)
    rows = Parts(store)
    yield from text_problems(cells, runs, store, rows)
    if not cells or rows.empty or not runs:
        yield Problem("rows", "coverage", "it has no results, or no record of a run")
        return
    sources = list(source_problems(store.root, submission, cells))
    yield from sources
    if sources:
        return  # whose methods these are is not known
    brought, sound = brought_card(store.root, submission), True
    for key, cell in cells.items():
        wrong = list(context_problems(cell.context)) or list(method_problems(cell, submission, brought))
        yield from (Problem(f"cells/{key}.json", "cell", text) for text in wrong)
        sound = sound and not wrong
    if not sound:
        return  # lists and rows are of what these say
    yield from coverage_problems(cells, runs, store, rows, frozen)
    yield from row_problems(cells, rows)
    yield from form_problems(
        store, cells, {path.stem: RunManifest.load(path) for path in store.root.glob("runs/*.json")}
    )
    if board is not None:
        yield from problems_with_board(cells, rows, board)
