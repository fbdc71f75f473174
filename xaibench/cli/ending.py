"""The signals that end a command from outside, as batch systems, closed terminals and `kill` send them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from xaibench.signals import ENDING


@dataclass
class Ending:
    """What ended a command: the number of the signal, None while none has come."""

    number: int | None = None

    @property
    def text(self) -> str:
        """How the command ended, in a word or two: `interrupted`, or the name of the signal."""
        return "interrupted" if self.number is None else f"ended by {signal.Signals(self.number).name}"

    @property
    def status(self) -> int:
        """The exit status, 128 and the number of the signal, as shells say it; that of Ctrl-C while none has come."""
        return 128 + (self.number or signal.SIGINT)


@contextmanager
def heard() -> Iterator[Ending]:
    """While the block runs, each of ENDING is raised as KeyboardInterrupt, so that what is done is stored as at Ctrl-C.

    Only the first one is; those that follow, while what is done is being stored, change nothing. A signal that the
    process was started to ignore (`nohup`) stays ignored, and outside of the main thread nothing is changed.
    """
    ending = Ending()

    def note(number: int, frame: object) -> None:
        if ending.number is None:
            ending.number = number
            raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {
            number: signal.signal(number, note) for number in ENDING if signal.getsignal(number) == signal.SIG_DFL
        }
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
