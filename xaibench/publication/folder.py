"""A folder that is replaced as a whole: written beside, then exchanged, so that whoever is killed leaves the old one or
the new one."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xaibench.errors import XaibenchError
from xaibench.files import obstacle
from xaibench.leftovers import abandoned_folders, is_temporary, temporary

OWN = frozenset({
    "README.md", "SHA256SUMS", "board.json", "leaderboard.csv", "scores.parquet", "cells.parquet", "cells", "runs",
    "lists", "rows", "maps", "images", "replays", "boards", "figures", "comparisons", "versions",
})  # fmt: skip
"""The names that a board folder has; all else in it (`.git`, a site) belongs to others and is kept."""
EXCHANGE, CURRENT = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of Linux


@contextmanager
def written_beside(target: Path) -> Iterator[Path]:
    """An empty folder beside `target`, on the same disk, to be given to `put_in_place`; it is gone after the block.

    Raises XaibenchError where no folder can be made there.
    """
    fresh = temporary(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh.mkdir()
    except OSError as error:
        raise obstacle(error, fresh) from error
    try:
        yield fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def put_in_place(fresh: Path, target: Path) -> None:
    """Puts a folder that is complete where `target` is, in one step where the system has one, and moves what in the old
    folder belongs to others into it.

    Raises XaibenchError where the folder cannot be replaced; the old one is then as it was.
    """
    try:
        if not target.exists():
            fresh.replace(target)
            return
        if not _exchange(fresh, target):  # a moment without either, which `recover` mends
            old = temporary(target)
            target.replace(old)
            fresh.replace(target)
            old.replace(fresh)
    except OSError as error:
        if error.errno is None:
            raise
        raise XaibenchError(
            f"{target} cannot be replaced ({error.strerror}); it may be a mounted folder: publish to a folder in it"
        ) from error
    _take_over(fresh, target)


def recover(target: Path) -> None:
    """Ends what a killed process left beside `target`: the folder is put back where there is none, what belongs to
    others is taken over, and the rest is removed."""
    for left in abandoned_folders(target):
        if not target.exists() and (left / "board.json").is_file():
            left.replace(target)
        else:
            if target.is_dir():
                _take_over(left, target)
            shutil.rmtree(left, ignore_errors=True)


def own_files(root: Path, without: frozenset[str] = frozenset()) -> dict[str, Path]:
    """The files of a board folder by their relative paths, except below the top names `without`.

    Raises XaibenchError for a link: publishing makes none, and one of others may lead to files that are private; and
    for what is neither a file nor a folder, such as a pipe.
    """
    found = {}
    for name in sorted(OWN - without):
        top = root / name
        paths = [top, *sorted(top.rglob("*"))]
        if links := [path for path in paths if path.is_symlink()]:
            raise XaibenchError(f"{links[0]} is a link, which no board folder has; put the file itself there")
        if odd := [path for path in paths if path.exists() and not (path.is_file() or path.is_dir())]:
            raise XaibenchError(f"{odd[0]} is neither a file nor a folder; remove it")
        found |= {path.relative_to(root).as_posix(): path for path in paths if path.is_file()}
    return found


def equal_files(first: Path, second: Path) -> bool:
    """Whether two files have the same bytes."""
    return first.stat().st_size == second.stat().st_size and first.read_bytes() == second.read_bytes()


def _take_over(old: Path, new: Path) -> None:
    """Moves what belongs to others from the old folder, which may be one that was never finished, into the new one."""
    for entry in sorted(old.iterdir()):
        if entry.name not in OWN and not is_temporary(entry.name) and not (new / entry.name).exists():
            entry.replace(new / entry.name)


def _exchange(first: Path, second: Path) -> bool:
    """Exchanges two folders in one step; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    with suppress(AttributeError, OSError):
        call = ctypes.CDLL(None, use_errno=True).renameat2
        return call(CURRENT, os.fsencode(first), CURRENT, os.fsencode(second), EXCHANGE) == 0
    return False
