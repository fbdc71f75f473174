"""One process at a time for one piece of work: locks that end with their process, and records of who holds them."""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import stat
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from xaibench.errors import XaibenchError
from xaibench.files import make_folder, obstacle, read_json, write_json

CONTENDED = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES}  # of a lock that another process holds


class Busy(XaibenchError):
    """Another process does the same work; the message names the process, where it is known."""

    def __init__(self, message: str, path: Path):
        super().__init__(message)
        self.path = path

    def still_held(self) -> bool:
        """Whether the lock that could not be taken is still held."""
        with ExitStack() as held:
            return not _acquire(self.path, held)


@contextmanager
def claim(folder: Path, names: Iterable[str], command: str, doing: str, otherwise: str = "") -> Iterator[None]:
    """Holds a lock for each name while the block runs: `folder/<name>.lock`, and one record of who holds them.

    The operating system frees the locks of a process that ends, however it ends; the empty files that remain have no
    meaning. command: how this process was started. Raises Busy at once where another process holds one of the names
    (`<doing> by process ..., wait ... <otherwise>`), and XaibenchError where the folder cannot be written. On a file
    system without lock support, locking is skipped.
    """
    names = sorted(names)
    with ExitStack() as held:
        if names:
            make_folder(folder)
            for name in names:
                path = folder / f"{name}.lock"
                if not _acquire(path, held):
                    raise Busy(
                        f"{doing} by {holder(folder, name)}; "
                        f"wait until it ends and give the same command again{otherwise}",
                        path,
                    )
            for stale in _records(folder, names):  # their writers hold none of the locks any more
                stale.unlink(missing_ok=True)
            held.enter_context(_recorded(folder, names, command))
        yield


def try_lock(folder: Path, names: Iterable[str]) -> ExitStack | None:
    """Locks of all these names, to be closed by the caller; None, and no lock, where another process holds one of them.

    The folder must exist. Raises XaibenchError where it cannot be written.
    """
    with ExitStack() as held:
        for name in sorted(names):
            if not _acquire(folder / f"{name}.lock", held):
                return None
        return held.pop_all()


@contextmanager
def living(folder: Path, name: str) -> Iterator[None]:
    """Holds a lock that only this block takes, by which others see that it runs (`is_held`); its file goes with it."""
    make_folder(folder)
    path = folder / f"{name}.lock"
    held = try_lock(folder, [name]) or ExitStack()
    try:
        with held:
            yield
    finally:
        forget(path)


def is_held(folder: Path, name: str) -> bool:
    """Whether any process holds the lock of a name, found out without changing the folder, which may be read-only.

    True also where a lock file is there whose lock cannot be looked at: on a file system without lock support, of
    another user.
    """
    path = folder / f"{name}.lock"
    held = _looked_at(path)
    return path.is_file() if held is None else held


def excludes(folder: Path, name: str) -> bool:
    """Whether the lock of a name, which this process holds, can be seen by others; False on a file system without lock
    support."""
    return _looked_at(folder / f"{name}.lock") is True


def holder(folder: Path, *names: str) -> str:
    """Who holds a lock of these names, for a message: process, host, start time and command."""
    return description(_owner(folder, names))


def description(owner: dict[str, Any] | None) -> str:
    """The process of a record (`process_record`), for a message; None: it is not known."""
    if owner is None:
        return "another process"
    where = "" if owner.get("host") == socket.gethostname() else f" on {owner.get('host')}"
    started = str(owner.get("started")).replace("T", " ").replace("+00:00", " UTC")
    command = " ".join(json.dumps(owner.get("command"), ensure_ascii=False).strip('"').split())
    short = command if len(command) < 200 else f"{command[:200]}..."
    return f"process {owner.get('process')}{where}, started {started}: {short}"


def process_record(command: str) -> dict[str, Any]:
    """What is recorded of this process for `description`; command: how it was started."""
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
    }


@contextmanager
def _recorded(folder: Path, names: list[str], command: str) -> Iterator[None]:
    """The record of this process, while the block runs."""
    record = folder / f"owner-{secrets.token_hex(6)}.json"
    try:
        write_json(record, process_record(command) | {"names": names})
        yield
    finally:
        forget(record)


def _acquire(path: Path, held: ExitStack) -> bool:
    """Takes a lock, to be released with `held`; False where another process, or another run of this one, holds it."""
    from filelock import FileLock, Timeout

    if path.is_symlink():  # some versions of filelock empty the file that a link leads to
        raise XaibenchError(f"{path} is a link; remove it")
    lock = FileLock(path, timeout=0)
    try:
        with warnings.catch_warnings(action="ignore"):  # filelock warns where it uses a weaker kind of lock
            lock.acquire()
    except Timeout:
        return False
    except PermissionError as error:
        if path.exists() and os.access(path.parent, os.W_OK):  # left by another user of the folder
            return True
        raise obstacle(error, path) from error
    except NotImplementedError:
        return True
    except OSError as error:
        raise obstacle(error, path) from error
    held.callback(lock.release)
    return True


def _records(folder: Path, names: Iterable[str]) -> dict[Path, dict[str, Any]]:
    """The records in a folder that contain any of these names."""
    found, names = {}, set(names)
    for path in folder.glob("owner-*.json"):
        with suppress(XaibenchError):
            content = read_json(path)
            listed = content.get("names") if isinstance(content, dict) else None
            if isinstance(listed, list) and not names.isdisjoint(map(str, listed)):
                found[path] = content
    return found


def _owner(folder: Path, names: Iterable[str]) -> dict[str, Any] | None:
    """The record of a process that holds one of these names: the latest, since records of killed processes may
    remain."""
    return max(_records(folder, names).values(), key=lambda content: str(content.get("started")), default=None)


def _looked_at(path: Path) -> bool | None:
    """Whether any process holds a lock; None where that cannot be told."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        import fcntl
    except FileNotFoundError:
        return False
    except ImportError:  # Windows
        with ExitStack() as held:
            return not _acquire(path, held)
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # of this handle alone, and gone with it
            except OSError as error:
                return True if error.errno in CONTENDED else None
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return False


def forget(record: Path) -> None:
    """Removes a file, where that is possible."""
    with suppress(OSError):
        record.unlink(missing_ok=True)
