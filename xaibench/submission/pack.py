"""Packs a submission: rows, records, image lists, and the card and the code of the methods that it brings."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from xaibench.errors import XaibenchError
from xaibench.files import obstacle
from xaibench.leftovers import abandoned_folders, sweep, temporary
from xaibench.publication.api import Request, publish
from xaibench.results.manifest import load_runs
from xaibench.results.store import FOLDERS, Store
from xaibench.submission.archive import pack
from xaibench.submission.check import Checked, check
from xaibench.submission.manifest import submission_hash, write_submission
from xaibench.submission.source import copy_source, made_by

PLAIN = Request(gallery=0)


@dataclass(frozen=True)
class Packed:
    """What was packed: its hash, what the checks found, and notes on what was left out."""

    hash: str
    checked: Checked
    notes: list[str]


def submit(results: Path, card: Path, target: Path, request: Request = PLAIN) -> Packed:
    """Packs the results in a folder into a ZIP file (a name that ends in .zip) or a new folder.

    Nothing private goes out (`publication`), and there are no ranks in it: the board computes them. Raises
    XaibenchError where results are incomplete, where the card made none of them, and where a board would refuse it.
    """
    if target.exists():
        raise XaibenchError(f"{target} is there already; name another file or folder by --to")
    if not card.is_file():
        raise XaibenchError(f"--card {card} is no file; name the card (.toml) or the plug-in (.py) of your method")
    _made_by(card, results)  # before what takes time
    with TemporaryDirectory(prefix="xaibench-") as folder:
        published, root = Path(folder) / "board", Path(folder) / "submission"
        notes = publish(results, published, request).notes
        root.mkdir()
        for name in FOLDERS:
            shutil.copytree(published / name, root / name)
        _leave_out_ended_runs(root)
        write_submission(root, _made_by(card, root), copy_source(card, root))
        checked = check(root)
        if checked.problems:
            more = f" (and {len(checked.problems) - 1} more)" if len(checked.problems) > 1 else ""
            raise XaibenchError(f"a board would refuse this: {checked.problems[0]}{more}")
        name = submission_hash(root)
        _place(root, target)
    return Packed(name, checked, notes)


def _leave_out_ended_runs(root: Path) -> None:
    """Removes the records of runs that failed or were ended, and image lists of these alone."""
    runs = load_runs(Store.open(root))
    for run in runs:
        if run.status != "complete":
            (root / "runs" / f"{run.run}.json").unlink()
    kept = {run.images.get("list") for run in runs if run.status == "complete"}
    for path in (root / "lists").glob("*.json"):
        if path.stem not in kept:
            path.unlink()


def _made_by(card: Path, results: Path) -> list[str]:
    """The methods in a results folder that a card made; raises XaibenchError without any."""
    parts = [cell.method for cell in Store.open(results).cells().values() if cell.method]
    codes = {(part["name"], part.get("source")): part for part in parts}  # of one name there may be several
    found = {name for part in codes.values() for name in made_by(card, {part["name"]: part})}
    if not found:
        raise XaibenchError(
            f"none of the results in {results} were made by {card} as it is now; run it again with this file, or name "
            "the card (.toml) that it was run with"
        )
    return sorted(found)


def _place(root: Path, target: Path) -> None:
    """Puts the files in place as a whole, and removes what killed processes left of it."""
    fresh = temporary(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent)
        for left in abandoned_folders(target):
            shutil.rmtree(left, ignore_errors=True)
        if target.suffix == ".zip":
            pack(root, fresh)
        else:
            shutil.copytree(root, fresh)
        fresh.replace(target)
    except OSError as error:
        raise obstacle(error, target) from error
    finally:
        fresh.unlink(missing_ok=True) if fresh.is_file() else shutil.rmtree(fresh, ignore_errors=True)
