"""What happens, in words: on standard error with --verbose, and in a file beside the rows.

Both are for people. Nothing reads them back, and nothing of them is part of a key.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from xaibench.locks import try_lock
from xaibench.printing import LONGEST, clean, logger, print_line

_folder: ContextVar[Path | None] = ContextVar("folder", default=None)  # of the run of this thread
FILE, FORMER = "xaibench.log", "xaibench.log.1"
MOST = 1 << 20  # bytes of each of the two files


class _StandardError(logging.Handler):
    """A line on standard error for each record that was not printed there already."""

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "printed", False):
            print_line(f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {record.getMessage()}")


class _Appending(logging.Handler):
    """A line for each record at the end of a file that several processes share.

    Each line is written at once by a call of its own, so lines never mix; whoever finds the file full renames it. A log
    that cannot be written is left out: it is worth no failed run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder, self._path, self._former = folder, folder / FILE, folder / FORMER

    def emit(self, record: logging.LogRecord) -> None:
        if _folder.get() not in (None, self._folder):  # a run of another thread
            return
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        text = clean(" ".join(record.getMessage().split()))[:LONGEST]
        line = f"{moment} {os.getpid()} {record.levelname.lower()}: {text}\n".encode()
        with suppress(OSError):
            self._make_room()
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            number = os.open(self._path, flags, 0o666)
            try:
                os.write(number, line)
            finally:
                os.close(number)

    def _make_room(self) -> None:
        """Puts a full file in the place of the former one; of processes that do so at once, the first one does."""
        if not self._path.is_file() or self._path.stat().st_size < MOST:
            return
        (folder := self._path.parent / "locks").mkdir(exist_ok=True)
        if held := try_lock(folder, ["log"]):
            with held:
                if self._path.stat().st_size >= MOST:
                    self._path.replace(self._former)


@contextmanager
def verbose() -> Iterator[None]:
    """While the block runs, what happens is said on standard error, a line each."""
    with _handled(_StandardError()):
        yield


@contextmanager
def logged(folder: Path) -> Iterator[None]:
    """While the block runs, what happens is written to `xaibench.log` in a folder, as soon as that exists.

    At MOST bytes the file becomes `xaibench.log.1`, and the one of that name before goes.
    """
    before = _folder.set(folder)
    with _handled(_Appending(folder)):
        try:
            yield
        except BaseException as error:
            logger.error("ended by %s: %s", type(error).__name__, error, extra={"printed": True})
            raise
        finally:
            _folder.reset(before)


@contextmanager
def _handled(handler: logging.Handler) -> Iterator[None]:
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        if not any(isinstance(other, (_StandardError, _Appending)) for other in logger.handlers):
            logger.setLevel(logging.NOTSET)
