"""One process at a time for one piece of work: locks that go with their process, and say who holds them."""

from __future__ import annotations

import json
import os
import secrets
import socket
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from xaibench.errors import XaibenchError
from xaibench.files import make_folder, obstacle, read_json, write_json


@contextmanager
def claim(folder: Path, names: Iterable[str], command: str, doing: str, otherwise: str = "") -> Iterator[None]:
    """Holds a lock for each name while the block runs: `folder/<name>.lock`, and one record of who holds them.

    The operating system frees the locks of a process that ends, however it ends; the empty files stay and mean nothing.
    command: how this process was started. Raises XaibenchError at once where another process holds one of the names
    (`<doing> by process ..., wait ... <otherwise>`), and where the folder cannot be written. A file system that knows
    no locks is worked on without them.
    """
    names = sorted(names)
    record = folder / f"owner-{secrets.token_hex(6)}.json"
    with ExitStack() as held:
        if names:
            make_folder(folder)
            for name in names:
                if not _acquire(folder / f"{name}.lock", held):
                    raise XaibenchError(
                        f"{doing} by {_words(_owner(folder, name))}; "
                        f"wait until it ends and give the same command again{otherwise}"
                    )
            for stale in _records(folder, names):  # whoever wrote these has none of the locks any more
                stale.unlink(missing_ok=True)
            held.callback(_forget, record)
            write_json(record, _me(command) | {"names": names})
        yield


def _acquire(path: Path, held: ExitStack) -> bool:
    """Takes a lock, to be released with `held`; False where another process, or another run of this one, has it."""
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0)
    try:
        with warnings.catch_warnings(action="ignore"):  # filelock says so where it makes do with a lesser lock
            lock.acquire()
    except Timeout:
        return False
    except PermissionError as error:
        if path.exists() and os.access(path.parent, os.W_OK):  # left by somebody else who shares the folder
            return True
        raise obstacle(error, path) from error
    except NotImplementedError:
        return True
    except OSError as error:
        raise obstacle(error, path) from error
    held.callback(lock.release)
    return True


def _me(command: str) -> dict[str, Any]:
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
    }


def _records(folder: Path, names: Iterable[str]) -> dict[Path, dict[str, Any]]:
    """The records in a folder that speak of any of these names."""
    found, wanted = {}, set(names)
    for path in folder.glob("owner-*.json"):
        with suppress(XaibenchError):
            content = read_json(path)
            if isinstance(content, dict) and wanted & set(content.get("names", ())):
                found[path] = content
    return found


def _owner(folder: Path, name: str) -> dict[str, Any] | None:
    """The record of whoever holds a name: the latest, since those of killed processes may lie beside it."""
    return max(_records(folder, [name]).values(), key=lambda content: str(content.get("started")), default=None)


def _words(owner: dict[str, Any] | None) -> str:
    """Who that is, in words for a message."""
    if owner is None:
        return "another process"
    where = "" if owner.get("host") == socket.gethostname() else f" on {owner.get('host')}"
    started = str(owner.get("started")).replace("T", " ").replace("+00:00", " UTC")
    command = " ".join(json.dumps(owner.get("command"), ensure_ascii=False).strip('"').split())
    short = command if len(command) < 200 else f"{command[:200]}..."
    return f"process {owner.get('process')}{where}, started {started}: {short}"


def _forget(record: Path) -> None:
    with suppress(OSError):
        record.unlink(missing_ok=True)
