"""Why a process that loads images did not start, or ended before its work was done, in one line.

Processes are started by fork, or, where that is not safe (macOS, Windows, Python 3.14), by spawn or forkserver: these
import the script that the user runs once more. A script whose calls do not stand below `if __name__ == "__main__"` then
calls xaibench again, in a process that is still being started.

Not told: a script that fails by itself when it is imported again, under spawn, with a data set that does not fit into a
pipe. It prints why, and Python waits for ever to send the data set (see `_take_what_is_sent`); Ctrl-C ends it.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import multiprocessing.spawn
import os
import pickletools
import re
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from xaibench.errors import XaibenchError, one_line

CALLED_AGAIN = 87
"""The exit status of a process that called xaibench while it was being started."""
SECONDS_TO_FAIL = 5.0
IN_THIS_PROCESS = "or load images in this process by --workers 0 (workers=0)"


def end_if_being_started() -> None:
    """Ends this process, silently, where it is one that is only being started and imports the user's script for that:
    the process that starts it says so."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # what multiprocessing itself goes by
        sys.stdout.flush()
        _take_what_is_sent()
        os._exit(CALLED_AGAIN)  # a SystemExit has another exit status where the process was forked by a forkserver


def _take_what_is_sent() -> None:
    """Reads the data set that the starting process is sending, without making it.

    Otherwise that process would wait for ever where the data set does not fit into a pipe (64 KiB): under spawn Python
    holds the reading end of the pipe itself meanwhile, so it never sees that nobody reads.
    """
    frame = sys._getframe()
    while frame is not None:
        pipe = frame.f_locals.get("from_parent")
        if pipe is not None and frame.f_code.co_filename == multiprocessing.spawn.__file__:
            with suppress(OSError, ValueError):  # the other process is gone
                for _ in pickletools.genops(SimpleNamespace(read=pipe.read, readline=pipe.readline)):
                    pass
            return
        frame = frame.f_back


def lost_process(error: BaseException) -> XaibenchError | None:
    """The error for the user where an error of a torch loader says that its processes did not start or have ended; None
    for any other error."""
    text = str(error)
    if isinstance(error, (EOFError, ConnectionError)) and _raised_in(error, "multiprocessing"):
        codes = _exit_codes(error)
        return _ended(codes if CALLED_AGAIN in codes else [*_forkserver_status(), *codes])
    if isinstance(error, RuntimeError) and "DataLoader worker (pid" in text:
        if "Bus error" in text:
            return XaibenchError(
                "processes that load images have too little shared memory (/dev/shm); enlarge it, in Docker by "
                f"--shm-size, {IN_THIS_PROCESS}"
            )
        said = [int(code) for code in re.findall(r"with exit code (-?\d+)", text)]
        return _ended([*said, *_signals_in(text)] or _exit_codes(error))
    if _raised_in(error, "reduction.py"):  # of multiprocessing
        reason = f"{type(error).__name__}: {one_line(error, 200)}"
        return XaibenchError(
            f"the data set cannot be sent to processes that load images: {reason}; define it in a module, without "
            f"lambdas and open files, {IN_THIS_PROCESS}"
        )
    return None


def _ended(codes: list[int]) -> XaibenchError:
    """What the exit codes of processes say: the number of a signal below zero, as multiprocessing has it."""
    if CALLED_AGAIN in codes:
        return XaibenchError(
            'this script calls xaibench without `if __name__ == "__main__":`, so that each process that loads images '
            f"calls it again; put the calls below that line, {IN_THIS_PROCESS}"
        )
    killed = [-code for code in codes if code < 0]
    if getattr(signal, "SIGKILL", None) in killed:
        return XaibenchError(
            "a process that loads images was killed, as happens when memory runs out; choose fewer --workers"
        )
    if killed:
        return XaibenchError(
            f"a process that loads images ended by {signal.Signals(killed[0]).name}; to see where, "
            f"{IN_THIS_PROCESS.removeprefix('or ')}"
        )
    if failed := [code for code in codes if code > 0]:
        return XaibenchError(
            f"a process that loads images ended with exit status {failed[0]}, and has printed why above; mend that, "
            f"{IN_THIS_PROCESS}"
        )
    return XaibenchError(f"a process that loads images ended, nobody knows why; try again, {IN_THIS_PROCESS}")


def _exit_codes(error: BaseException) -> list[int]:
    """Those of the processes that were being started or waited for when an error was raised, and have failed.

    They are found in the frames of the error, since loaders of Accelerate, and processes that do not start, are known
    nowhere else.
    """
    owners = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    processes = {id(p): p for owner in owners for p in getattr(owner, "_workers", ())}
    end = time.monotonic() + SECONDS_TO_FAIL
    while processes and time.monotonic() < end and not any(p.exitcode for p in processes.values()):
        time.sleep(0.05)
    codes = [process.exitcode for process in processes.values()]
    starting = [owner for owner in owners if type(owner).__name__ == "Popen" and _has_pid(owner)]
    codes += [popen.wait(SECONDS_TO_FAIL) for popen in starting]
    return [code for code in codes if code]


def _has_pid(popen: Any) -> bool:
    """Whether a process was started; one that ended before it had read everything has not told a forkserver's Popen its
    id, which lies in the pipe of its exit code."""
    if popen.method == "forkserver" and not hasattr(popen, "pid"):
        with suppress(OSError, EOFError):  # the forkserver itself has ended
            popen.pid = multiprocessing.forkserver.read_signed(popen.sentinel)
    return getattr(popen, "pid", None) is not None


def _forkserver_status() -> list[int]:
    """The exit code of the process that forks others, where it has ended: it imports the script first."""
    server = getattr(multiprocessing.forkserver, "_forkserver", None)
    pid = getattr(server, "_forkserver_pid", None)
    if multiprocessing.get_start_method(allow_none=True) != "forkserver" or pid is None:
        return []
    found, status, end = 0, 0, time.monotonic() + SECONDS_TO_FAIL
    while not found and time.monotonic() < end:  # it goes on where only the process that it forked has ended
        try:
            found, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return []
        time.sleep(0.05)
    if not found:
        return []
    server._forkserver_pid = None  # so that the next one is started anew
    return [os.waitstatus_to_exitcode(status)]


def _signals_in(text: str) -> list[int]:
    """The signals that torch names by what they are called in C, as codes."""
    found = re.search(r"killed by signal: ([^.]*)", text)
    names = {signal.strsignal(number): number for number in signal.valid_signals()}
    return [-names[found[1]]] if found and found[1] in names else []


def _raised_in(error: BaseException, path: str) -> bool:
    """Whether an error was raised in a file of the standard library's multiprocessing with this in its path."""
    files = [Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(file.parent.name == "multiprocessing" and path in str(file) for file in files)
