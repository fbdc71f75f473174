"""Packs a submission: rows, records, image lists, and the card and the code of the methods that it brings."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from xaibench.errors import XaibenchError
from xaibench.files import obstacle
from xaibench.publication.api import Request, publish
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
    with TemporaryDirectory(prefix="xaibench-") as folder:
        published, root = Path(folder) / "board", Path(folder) / "submission"
        notes = publish(results, published, request).notes
        root.mkdir()
        for name in FOLDERS:
            shutil.copytree(published / name, root / name)
        parts = {cell.method["name"]: cell.method for cell in Store.open(root).cells().values() if cell.method}
        methods = made_by(card, parts)
        if not methods:
            raise XaibenchError(
                f"none of the results in {results} were made by {card} as it is now; run it again with this file"
            )
        write_submission(root, methods, copy_source(card, root))
        checked = check(root)
        if checked.problems:
            more = f" (and {len(checked.problems) - 1} more)" if len(checked.problems) > 1 else ""
            raise XaibenchError(f"a board would refuse this: {checked.problems[0]}{more}")
        name = submission_hash(root)
        _place(root, target)
    return Packed(name, checked, notes)


def _place(root: Path, target: Path) -> None:
    """Puts the files in place as a whole."""
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".zip":
            pack(root, fresh)
        else:
            shutil.copytree(root, fresh)
        fresh.replace(target)
    except OSError as error:
        raise obstacle(error, target) from error
