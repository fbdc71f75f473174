"""Temporary files: names that tell whose they are, and the removal of those that killed processes left behind."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import secrets
import socket
import time
from pathlib import Path

DAY = (
    86_400  # seconds after which a file is a leftover, where its process cannot be asked: no file is written so slowly
)
NAMES = re.compile(r"\..+\.(?:(?P<machine>[0-9a-f]{6})-(?P<process>\d{1,9})-)?[0-9a-f]{8}\.(?:tmp|part)")


def temporary(path: Path, suffix: str = ".tmp") -> Path:
    """A hidden name beside a path that no other process can take, and that tells machine and process; suffix: .tmp or
    .part."""
    return path.with_name(f".{path.name}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}{suffix}")


def adopt(path: Path, suffix: str = ".part") -> Path | None:
    """The largest temporary file that an ended process left of a path, under a name of this process; None without
    one. Of several processes that look for it one gets it."""
    left = [
        entry
        for entry in _abandoned_in(path.parent)
        if entry.name.startswith(f".{path.name}.") and entry.name.endswith(suffix)
    ]
    for entry in sorted(left, key=lambda entry: entry.stat().st_size, reverse=True):
        mine = temporary(path, suffix)
        with contextlib.suppress(OSError):
            return Path(entry.path).replace(mine)
    return None


def is_running(process: int) -> bool:
    """Whether a process of this machine runs, of this user or of another; true where that cannot be told (Windows)."""
    if os.name != "posix":
        return True  # the call below would end it there
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError, ValueError, OSError):
        return False
    return True


def sweep(folder: Path) -> None:
    """Removes temporary files from a folder whose process has ended, or that nobody has written to for a day.

    Files that cannot be looked at or removed stay; no error is raised.
    """
    for entry in _abandoned_in(folder):
        with contextlib.suppress(OSError):
            Path(entry.path).unlink()


def is_temporary(name: str) -> bool:
    """Whether a name is one that `temporary` gives."""
    return NAMES.fullmatch(name) is not None


def abandoned(folder: Path) -> list[Path]:
    """The temporary files and folders in a folder that belong to no running process, in the order of their names."""
    return sorted(Path(entry.path) for folders in (False, True) for entry in _abandoned_in(folder, folders))


def abandoned_folders(path: Path) -> list[Path]:
    """The temporary folders that ended processes left beside a path."""
    found = [Path(entry.path) for entry in _abandoned_in(path.parent, folders=True)]
    return sorted(folder for folder in found if folder.name.startswith(f".{path.name}."))


def _abandoned_in(folder: Path, folders: bool = False) -> list[os.DirEntry]:
    """The temporary files, or folders, in a folder that belong to no running process; none where the folder cannot be
    read."""
    found = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            name = NAMES.fullmatch(entry.name) if entry.name.startswith(".") else None
            kind = entry.is_dir if folders else entry.is_file
            if name and kind(follow_symlinks=False) and _abandoned(entry, name):
                found.append(entry)
    return found


def _abandoned(entry: os.DirEntry, found: re.Match) -> bool:
    if found["machine"] == _machine() and not is_running(int(found["process"])):
        return True
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > DAY


@functools.cache
def _machine() -> str:
    """6 hex digits for this start of this machine, and for the numbering of processes of this container."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8")
        parts += [boot, str(Path("/proc/self/ns/pid").stat().st_ino)]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=3).hexdigest()
