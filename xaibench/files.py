"""Files that are written completely or not at all, and JSON that every reader accepts."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from xaibench.errors import XaibenchError, one_line
from xaibench.leftovers import sweep, temporary
from xaibench.parsing import is_text, parse_json

FULL = {errno.ENOSPC, errno.EDQUOT}
CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}
RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])", re.IGNORECASE)  # on Windows, with any ending
SECONDS_TO_WAIT = 0.0 if os.name == "posix" else 2.0
"""For readers to close a file: on Windows, no file that is open can be replaced."""
STEP = 0.02


def write_atomic(path: Path, data: bytes, durable: bool = True) -> None:
    """Put `data` at `path` so that readers see all of it or nothing of it, also after a kill or a power cut.

    durable: False where a power cut may damage the file, as for what means nothing after one; that is faster. Raises
    XaibenchError when the disk is full or the folder cannot be written; what was at `path` is then untouched.
    """
    with writing_atomic(path, durable) as file:
        file.write(data)


@contextlib.contextmanager
def writing_atomic(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """A file for content that comes in parts; when the block ends, it is put at `path` as by `write_atomic`.

    Raises as `write_atomic`; where the block raises, what was at `path` is untouched.
    """
    fresh = temporary(path)
    try:
        with fresh.open("xb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        _put(fresh, path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        raise obstacle(error, path) from error
    finally:
        # On a read-only disk even this fails; the first error is the one to report, and leftovers never count.
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)


def _put(fresh: Path, path: Path) -> None:
    """Puts a finished file in its place, once readers that keep it from being replaced have closed it."""
    until = time.monotonic() + SECONDS_TO_WAIT
    while True:
        try:
            fresh.replace(path)
            return
        except PermissionError as error:
            if time.monotonic() >= until:
                if SECONDS_TO_WAIT:
                    raise _held(path) from error
                raise
        time.sleep(STEP)


def _held(path: Path) -> XaibenchError:
    return XaibenchError(
        f"cannot write {path}: another program has it open, or it is read-only; close it there and give the same "
        "command again; nothing stored before is lost"
    )


def make_folder(folder: Path) -> None:
    """Makes a folder and its parent folders, and removes temporary files that killed processes left in it.

    Raises XaibenchError where that folder is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise XaibenchError(f"{folder} cannot be a folder: a file is in the way; choose another") from error
    except OSError as error:
        raise obstacle(error, folder) from error
    sweep(folder)


def obstacle(error: OSError, path: Path) -> XaibenchError:
    """The error for the user about a failure to write `path`."""
    if error.errno in FULL:
        return XaibenchError(
            f"the disk is full: {path} was not written, but nothing stored before is lost; "
            "free some space and give the same command again"
        )
    if error.errno in CLOSED:
        return XaibenchError(f"cannot write in {path.parent}: it is read-only for you; choose another folder")
    return XaibenchError(f"cannot write {path}: {error.strerror or error}; nothing stored before is lost")


def write_json(path: Path, value: Any) -> None:
    """Write `value` (see `plain`) as indented JSON, atomically."""
    write_atomic(path, json_text(value).encode())


def json_text(value: Any) -> str:
    """What `write_json` writes."""
    return json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def file_name(text: str) -> str:
    """A name of others as (a part of) the name of a file: letters and digits of ASCII, `-`, `_` and single dots stay,
    all else becomes `-`, at most 100 characters. Names of devices of Windows get a `_`.

    >>> file_name("x/../../NAME (a b)"), file_name("con.1")
    ('x-NAME-a-b', 'con_.1')
    """
    plain_name = re.sub(r"-{2,}", "-", re.sub(r"[^A-Za-z0-9_.]|\.{2,}", "-", text))
    name = plain_name[:100].strip("-.") or "unnamed"
    first, dot, rest = name.partition(".")
    return f"{first}_{dot}{rest}" if is_reserved(first) else name


def is_reserved(name: str) -> bool:
    """Whether Windows takes a name for that of a device, such as `con`, whatever follows a dot."""
    return RESERVED.fullmatch(name.partition(".")[0]) is not None


def read_json(path: Path, limit: int = 16 << 20) -> Any:
    """The value in a JSON file of at most `limit` bytes, in which NaN and infinities are no numbers.

    Raises XaibenchError naming the file if it cannot be read, is no regular file, or is no JSON.
    """
    try:
        return parse_json(read_regular(path, limit))
    except FileNotFoundError as error:
        raise XaibenchError(f"{path} is missing; {_hint(path)}") from error
    except OSError as error:
        raise XaibenchError(f"{path} cannot be read: {error.strerror or error}; {_hint(path)}") from error
    except ValueError as error:
        raise XaibenchError(f"{path} is no JSON ({one_line(error)}); {_hint(path)}") from error


def read_regular(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes, read without following a link out of its folder.

    Raises OSError as `open`, and XaibenchError for what is no regular file (a pipe, a device, a folder) or is larger.
    """
    check_regular(path)
    return read_bounded(path, limit)


def read_bounded(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes, wherever links lead; raises as `read_regular`."""
    _check_file(path)
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise XaibenchError(f"{path} has more than {limit >> 20} MiB, which no such file needs; move it away")
    return content


def check_regular(path: Path) -> None:
    """Raises OSError where there is no file, and XaibenchError for what is no regular file, has a name that is no text,
    or lies outside of the folder above the file's own: a link, of the file or of its folder, may lead anywhere."""
    if not is_text(path.name):
        raise XaibenchError(f"{str(path)!a} has a name that is no text in UTF-8; move it away")
    _check_file(path)
    if not path.resolve().is_relative_to(path.parent.parent.resolve()):
        raise XaibenchError(f"{path} is a link to a file outside of {path.parent.parent}; put the file itself there")


def check_folder(folder: Path) -> None:
    """Raises XaibenchError for what is there and no folder, or is a link out of the folder above, in which others would
    read and write."""
    if not (folder.is_symlink() or folder.exists()):
        return
    if not folder.is_dir():
        raise XaibenchError(f"{folder} is no folder; move it away")
    if not folder.resolve().is_relative_to(folder.parent.resolve()):
        raise XaibenchError(f"{folder} is a link to a folder outside of {folder.parent}; put the folder itself there")


def _check_file(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe waits forever, and a device may have no end
        raise XaibenchError(f"{path} is no regular file; move it away")


def plain(value: Any) -> Any:
    """`value` in the types of JSON: tuples become lists, NumPy scalars numbers, paths text, NaN and infinities null.

    Raises TypeError for anything else, rather than storing its `repr`.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return plain(value.item())
    raise TypeError(f"cannot be stored as JSON: {value!r}")


def _hint(path: Path) -> str:
    return f"`xaibench validate {path.parent.parent}` lists what is wrong"


def _sync_folder(folder: Path) -> None:
    # A rename survives a power cut only once the folder itself is on the disk; Windows has no such call.
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
