"""Kills a piece of work at each place where it changes the disk, in a forked copy of this process.

Forking leaves out the seconds in which Python and torch start, so hundreds of kills take minutes.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

PLACES = ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir")
SECONDS = 120


def in_a_child(work: Callable[[], None], prepare: Callable[[], None] = lambda: None) -> int:
    """Runs work in a forked process, whose output goes nowhere; its exit status, negative for a signal.

    Fails the test where the work raises an error, or takes more than SECONDS.
    """
    process = os.fork()
    if process == 0:
        status = 1
        try:
            os.setsid()
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, 1)
            prepare()
            work()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return _status(process)


def _status(process: int, killed_after: float | None = None) -> int:
    began = time.monotonic()
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        spent = time.monotonic() - began
        if spent > SECONDS or (killed_after is not None and spent > killed_after):
            os.kill(process, signal.SIGKILL)
            killed_after = None
            if spent > SECONDS:
                raise AssertionError(f"it takes longer than {SECONDS} seconds")
        time.sleep(0.002)


def counted(work: Callable[[], None], note: Path) -> int:
    """At how many places the work changes the disk; it is carried out for this."""

    def prepare() -> None:
        calls = [0]

        def count(function: Callable) -> Callable:
            def call(*args: object, **kwargs: object) -> object:
                calls[0] += 1
                with note.open("w") as file:
                    file.write(str(calls[0]))
                return function(*args, **kwargs)

            return call

        for name in PLACES:
            setattr(os, name, count(getattr(os, name)))

    assert in_a_child(work, prepare) == 0
    return int(note.read_text())


def killed_at(work: Callable[[], None], number: int, after: bool) -> bool:
    """Kills the work at the change number `number` (from 1), before or after it; whether it came that far."""

    def prepare() -> None:
        calls = [0]

        def die(function: Callable) -> Callable:
            def call(*args: object, **kwargs: object) -> object:
                calls[0] += 1
                if calls[0] == number and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                mine = calls[0] == number
                try:
                    return function(*args, **kwargs)
                finally:  # a folder that is there already is no change, but a moment like any other
                    if mine:
                        os.kill(os.getpid(), signal.SIGKILL)

            return call

        for name in PLACES:
            setattr(os, name, die(getattr(os, name)))

    status = in_a_child(work, prepare)
    assert status in (0, -signal.SIGKILL), status
    return status == -signal.SIGKILL


def killed_at_random(work: Callable[[], None], seconds: float, dice: random.Random) -> bool:
    """Kills the work at a random moment of the seconds that it takes; whether it had not ended by then."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            work()
            status = 0
        finally:
            os._exit(status)
    return _status(process, killed_after=dice.uniform(0, seconds)) == -signal.SIGKILL


def leftovers(folder: Path) -> list[Path]:
    """Temporary files below a folder."""
    return [
        path for path in folder.rglob("*") if path.name.endswith((".tmp", ".part", ".old")) or ".probe" in path.name
    ]
