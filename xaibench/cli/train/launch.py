"""`--processes N`: several processes of the same command train together on this machine, and end together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from xaibench.errors import XaibenchError
from xaibench.ranks import LAUNCHED, local_count, process_count

SECONDS_TO_END = 20
"""For a process that is told to end; it may be storing an epoch."""
STEP, CLOSED_PIPE = 0.1, 13


def are_to_launch(processes: int | None) -> bool:
    """Whether this process is to start the others; not where it is one of several already.

    Raises XaibenchError for numbers that are none, and where a launcher started another number.
    """
    if processes is None:
        return False
    if processes < 1:
        raise XaibenchError(f"--processes {processes}: give 1 or more")
    if process_count() > 1:
        if process_count() != processes:
            raise XaibenchError(f"--processes {processes}, but {process_count()} are started; leave out --processes")
        return False
    return processes > 1


def launch(processes: int, command: Sequence[str]) -> None:
    """Runs a command of xaibench in so many processes, and returns when all have ended well.

    Where one fails, the others are ended; its exit status is then that of this process (SystemExit), which adds no word
    but of a process that was killed (XaibenchError). Ctrl-C and SIGTERM end all.
    """
    environment = environment_of(processes)
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "xaibench", *command],
            env=os.environ | environment | {"RANK": str(number), "LOCAL_RANK": str(number)},
            process_group=0 if os.name == "posix" else None,  # Ctrl-C comes to them from here, once
        )
        for number in range(processes)
    ]
    try:
        while any(process.poll() is None for process in running) and not any(p.returncode for p in running):
            time.sleep(STEP)
        ends = [(number_of_signal(p.returncode), n, p.returncode) for n, p in enumerate(running) if p.returncode]
    finally:
        _end(running)
    if not ends:
        return
    ended_by, failed, status = max(ends)  # where another was killed, those that miss it have said nothing
    if ended_by:
        name = signal.Signals(ended_by).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        raise XaibenchError(
            f"process {failed} was ended by {name}{hint}, and the others with it; what is done is stored, the same "
            "command goes on from the last complete epoch"
        )
    raise SystemExit(status)


def number_of_signal(status: int) -> int:
    """The signal that ended a process, by its exit status; 0 for none, and for a closed pipe, of which nothing is said.

    Of the signals that it hears, a process of xaibench ends with 128 and their number. On Windows, a process that
    crashed has a status of its own, which is no signal's.
    """
    number = -status if status < 0 else max(0, status - 128)
    return 0 if number == CLOSED_PIPE or number not in signal.valid_signals() else number


def environment_of(processes: int) -> Mapping[str, str]:
    """The variables by which processes of one machine find each other; they share its cores."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    count = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes // local_count()))}
    given = {name: os.environ[name] for name in threads if name in os.environ}
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), LAUNCHED: "1"} | count | threads | given


def _end(running: Sequence[subprocess.Popen]) -> None:
    """Ends processes: by SIGTERM, and where that is not enough in time, by force."""
    for process in running:
        if process.poll() is None:
            process.terminate()
    until = time.monotonic() + SECONDS_TO_END
    for process in running:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0, until - time.monotonic()))
        if process.poll() is None:
            process.kill()
            process.wait()
