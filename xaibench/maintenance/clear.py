"""Removes what `kept` lists: never rows, never cards, and nothing that a process is using."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from fnmatch import fnmatchcase

from xaibench.errors import XaibenchError
from xaibench.files import obstacle
from xaibench.leftovers import temporary
from xaibench.locks import try_lock
from xaibench.maintenance.kept import AGAIN, Kept


def choose(found: Iterable[Kept], kinds: Collection[str], pattern: str) -> list[Kept]:
    """Those of some kinds whose name, or what they belong to, matches a glob; raises XaibenchError for other kinds."""
    for kind in kinds:
        if kind not in AGAIN:
            raise XaibenchError(f"{kind!r} cannot be cleared; what can be: {', '.join(AGAIN)}")
    return [
        item
        for item in found
        if item.kind in kinds and any(fnmatchcase(text, pattern) for text in (item.path.name, item.belongs))
    ]


def clear(item: Kept) -> bool:
    """Removes one thing, all at once for others; False where a process took it into use meanwhile.

    Raises XaibenchError where it cannot be removed.
    """
    with ExitStack() as held:
        if item.kind == "models":
            lock = try_lock(item.path, ["training"])
        elif item.kind == "masks":
            (item.path / "locks").mkdir(exist_ok=True)
            lock = try_lock(item.path / "locks", ["masks"])
        else:
            lock = ExitStack()
        if lock is None or item.in_use:
            return False
        held.enter_context(lock)
        try:
            if item.path.is_dir() and not item.path.is_symlink():
                gone = item.path.rename(temporary(item.path))  # in one step: nobody sees half of it
                shutil.rmtree(gone)
            else:
                item.path.unlink(missing_ok=True)
        except FileNotFoundError:  # another process was faster
            return True
        except OSError as error:
            raise obstacle(error, item.path) from error
    return True
