"""Progress of long work on standard error: a bar on a terminal, a line every 20 seconds in logs and notebooks."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from xaibench.printing import clean, print_line

LINE_SECONDS = 20.0
STATUS_SECONDS = 120.0  # between two reports of the state, away from a terminal


class Bar:
    """The progress of one piece of work, moved on by `advance`."""

    def advance(self, amount: int = 1, note: str = "", left: float | None = None) -> None:
        """Adds to the amount that is done; note replaces the text at the end of the bar. left: seconds that are left,
        where they are known better than by the amount."""

    def report(self, lines: Sequence[str]) -> None:
        """Says how things stand, in some lines: below the bar on a terminal, elsewhere every two minutes."""


class _TerminalBar(Bar):
    def __init__(self, progress, task):
        self._progress, self._task = progress, task

    def advance(self, amount: int = 1, note: str = "", left: float | None = None) -> None:
        known = {} if left is None else {"end": time.monotonic() + left}
        self._progress.update(self._task, advance=amount, note=clean(note), **known)

    def report(self, lines: Sequence[str]) -> None:
        self._progress.lines = [clean(line) for line in lines]


class _LineBar(Bar):
    def __init__(self, title: str, total: int):
        self._title, self._total, self._done = title, total, 0
        self._began = self._printed = self._reported = time.monotonic()
        self._end: float | None = None

    def advance(self, amount: int = 1, note: str = "", left: float | None = None) -> None:
        self._done += amount
        now = time.monotonic()
        self._end = self._end if left is None else now + left
        finished = self._total and amount and self._done >= self._total
        if now - self._printed < LINE_SECONDS and not finished:
            return
        self._printed, spent = now, now - self._began
        of_total = f"/{self._total}" if self._total else ""
        line = f"{self._title}: {self._done}{of_total}, {clock(spent)} spent{self._left(now, spent)}"
        print_line(f"{line}{'; ' + note if note else ''}")

    def report(self, lines: Sequence[str]) -> None:
        now = time.monotonic()
        if now - self._reported >= STATUS_SECONDS:
            self._reported = now
            for line in lines:
                print_line(line)

    def _left(self, now: float, spent: float) -> str:
        if self._end is not None:
            return f", {clock(max(0.0, self._end - now))} left"
        known = self._total and self._done
        return f", {clock(spent / self._done * (self._total - self._done))} left" if known else ""


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, from an hour on with hours: `1:05`, `2:00:09`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextmanager
def bar(title: str, total: int, quiet: bool = False) -> Iterator[Bar]:
    """A bar for `total` pieces of work (0: unknown) with time spent and left; nothing is printed when quiet."""
    if quiet:
        yield Bar()
    elif not _redraws():
        yield _LineBar(title, total)
    else:
        with _terminal() as progress:
            yield _TerminalBar(progress, progress.add_task(clean(title), total=total or None, note="", end=None))


def _redraws() -> bool:
    """Whether standard error is a terminal that draws a line anew.

    What a notebook starts by `!` gets one that does not: each state of a bar would stay in its output. Jupyter's
    kernels pass JPY_PARENT_PID on to such commands.
    """
    return sys.stderr.isatty() and "JPY_PARENT_PID" not in os.environ


def _terminal():
    """Rich's progress display, with a time left that may be given, and lines below the bar."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Left(TimeRemainingColumn):
        def render(self, task):
            end = task.fields["end"]
            known = end is not None and not task.finished
            return (
                Text(clock(max(0.0, end - time.monotonic())), "progress.remaining") if known else super().render(task)
            )

    class WithLines(Progress):
        lines: Sequence[str] = ()

        def get_renderables(self):
            yield from super().get_renderables()
            yield from map(Text, self.lines)

    return WithLines(
        TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), MofNCompleteColumn(),
        TimeElapsedColumn(), TextColumn("left"), Left(), TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
    )  # fmt: skip
