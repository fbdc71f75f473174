"""Publishes a submission: it and its record of a replay are checked, and its results are added to the board's."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from tempfile import TemporaryDirectory

from xaibench.errors import XaibenchError
from xaibench.files import write_json
from xaibench.hashing import sha256_of
from xaibench.publication.api import Published, Request, publish
from xaibench.publication.collect import Selection
from xaibench.publication.index import BoardEntry, SubmissionEntry, is_board_folder, read_index
from xaibench.publication.submissions import Brought
from xaibench.results.manifest import RunManifest, load_runs
from xaibench.results.maps import MapStore
from xaibench.results.parts import Parts
from xaibench.results.replays import Replay, read_replay
from xaibench.results.store import FOLDERS, Store
from xaibench.submission.archive import unpacked
from xaibench.submission.check import check
from xaibench.submission.manifest import Submission, submission_hash
from xaibench.submission.methods import folded
from xaibench.submission.record import record_problems

PLAIN = Request()
JOINED = ("cells", "boards", "fitted")  # in which the records of one run may differ: those of a part have fewer


def publish_submission(
    path: Path,
    target: Path,
    request: Request = PLAIN,
    report: Callable[[str], None] = lambda line: None,
    *,
    replay: Path | None = None,
    replaced: Collection[str] = (),
) -> Published:
    """Publishes a submission (a ZIP file or a folder) into a board folder, which is made where there is none.

    What the board has of the same boards stays, and is compared with it. replay: the record of a replay of this very
    submission; all that were ever given are kept. replaced: methods that take the place of the board's of that name,
    which stay in the version before.

    Raises XaibenchError, in one line, for a submission that `xaibench validate` refuses, a record of something else or
    that was changed, a method whose name the board has from somebody else, and as `publish`.
    """
    if request.selection != Selection():
        raise XaibenchError("a submission is published whole; leave out --protocol, --model, --dataset and --board")
    board = target if is_board_folder(target) else None
    record = read_replay(replay) if replay is not None else None
    report(f"checking {path}")
    with unpacked(path) as root, TemporaryDirectory(prefix="xaibench-") as folder:
        found = check(root, board)
        if found.problems:
            more = f" (and {len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
            raise XaibenchError(f"not published: {found.problems[0]}{more}; `xaibench validate {path}` lists all")
        results = Path(folder) / "results"
        brought = _brought(root, found.submission, replay, record, Path(folder))
        for name in FOLDERS:
            shutil.copytree(root / name, results / name)
        if board is not None:
            _add_board(board, results, found.submission, replaced)
        return publish(results, target, request, report, brought)


def _brought(
    root: Path, submission: Submission, replay: Path | None, record: Replay | None, folder: Path
) -> Brought:  # fmt: skip
    """What the board will say of the submission, with its record, which is of a file."""
    name, store = submission_hash(root), Store.open(root)
    cells, records = store.cells(), {}
    if record is not None:
        if record.submission != name:
            raise XaibenchError(f"{replay} is of the submission {record.submission[:12]}, and this is {name[:12]}")
        for problem in record_problems(record, cells, Parts(store)):
            raise XaibenchError(f"{replay}: {problem}; replay the submission again")
        write_json(folder / "record.json", record.model_dump(mode="json"))
        records[sha256_of(folder / "record.json")] = (folder / "record.json").read_bytes()
    entry = SubmissionEntry.made(
        submission=name, methods=sorted(submission.methods), cells=sorted(cells), replays=list(records)
    )
    return Brought((entry,), records)


def _add_board(board: Path, results: Path, submission: Submission, replaced: Collection[str]) -> None:
    """Adds what a board has of the boards that the submission is for; what both have is that of the board."""
    ours, theirs = Store.open(board), Store.open(results)
    given = theirs.cells()
    touched = {cell.board for cell in given.values()}
    entries = [entry for entry in read_index(board).boards if entry.key in touched]
    names = {(cell.board, cell.method_name): key for key, cell in given.items()}
    added = set(given)
    for entry in entries:
        for key in entry.cells:
            cell = ours.cell(key)
            if names.get((entry.key, cell.method_name), key) != key and cell.method["name"] in submission.methods:
                if cell.method["name"] not in replaced:
                    raise XaibenchError(
                        f"the board has another method {cell.method['name']}: if this is its newer version, say "
                        f"--replace {cell.method['name']}; else it needs another name"
                    )
                continue
            for name in submission.methods:
                if folded(name) == folded(cell.method["name"]) and name != cell.method["name"]:
                    raise XaibenchError(
                        f"{name} looks like {cell.method['name']}, which the board has; it needs another name"
                    )
            added.add(key)
            _copy(board, results, entry, key)
    known = {key for entry in entries for key in entry.cells}
    _add_runs(ours, theirs, touched, added, known)


def _copy(board: Path, results: Path, entry: BoardEntry, key: str) -> None:
    """Copies the files of one result."""
    paths = [board / "cells" / f"{key}.json", board / entry.rows / f"{key}.parquet", *MapStore(board).files(key)]
    for path in paths:
        to = results / path.relative_to(board)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)


def _add_runs(ours: Store, theirs: Store, touched: set[str], added: set[str], known: set[str]) -> None:
    """Adds the records of the board's runs; of a run that both have, the results of both. What a submitted run says of
    results that the board has (known), such as their costs, is left out.

    Raises XaibenchError where these are two records of one run, which nobody but its author has.
    """
    given = {run.run: run for run in load_runs(theirs)}
    own = {run.run: run.cells for run in load_runs(ours)}
    for run in given.values():
        if others := known & set(run.cells) - set(own.get(run.run, ())):
            run.cells = [key for key in run.cells if key not in others]
            path = run.save(theirs)
            if not run.cells:
                path.unlink()
    for run in load_runs(ours):
        if not touched & set(run.boards):
            continue
        if other := given.get(run.run):
            run = _both(run, other)
        run.cells = [key for key in run.cells if key in added]
        run.boards = [key for key in run.boards if key in touched]
        run.save(theirs)
        if run.images.get("list"):
            theirs.save_list(ours.load_list(run.images["list"]))


def _both(ours: RunManifest, theirs: RunManifest) -> RunManifest:
    """One record of a run of two parts of it."""
    first, second = (
        {name: value for name, value in dataclasses.asdict(run).items() if name not in JOINED} for run in (ours, theirs)
    )
    if first != second:
        raise XaibenchError(f"not published: the board has another record of the run {ours.run}")
    cells, boards = ([*dict.fromkeys([*a, *b])] for a, b in ((ours.cells, theirs.cells), (ours.boards, theirs.boards)))
    return dataclasses.replace(ours, cells=cells, boards=boards, fitted=theirs.fitted | ours.fitted)
