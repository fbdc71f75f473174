"""Progress of long work on standard error: a bar on a terminal, elsewhere a line every 20 seconds; and single lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from xaibench.printing import clean, print_line

LINE_SECONDS = 20.0


class Bar:
    """The progress of one piece of work, moved on by `advance`."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Adds to the amount that is done; note replaces the text at the end of the bar."""


class _TerminalBar(Bar):
    def __init__(self, progress, task):
        self._progress, self._task = progress, task

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._progress.update(self._task, advance=amount, note=clean(note))


class _LineBar(Bar):
    def __init__(self, title: str, total: int):
        self._title, self._total, self._done = title, total, 0
        self._began = self._printed = time.monotonic()

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._done += amount
        now = time.monotonic()
        finished = self._total and amount and self._done >= self._total
        if now - self._printed < LINE_SECONDS and not finished:
            return
        self._printed, spent = now, now - self._began
        known = self._total and self._done
        left = f", {_clock(spent / self._done * (self._total - self._done))} left" if known else ""
        of_total = f"/{self._total}" if self._total else ""
        line = f"{self._title}: {self._done}{of_total}, {_clock(spent)} spent{left}"
        print_line(f"{line}{'; ' + note if note else ''}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


@contextmanager
def bar(title: str, total: int, quiet: bool = False) -> Iterator[Bar]:
    """A bar for `total` pieces of work (0: unknown) with time spent and left; nothing is printed when quiet."""
    if quiet:
        yield Bar()
    elif not sys.stderr.isatty():
        yield _LineBar(title, total)
    else:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), MofNCompleteColumn(),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )  # fmt: skip
        with Progress(*columns, console=Console(stderr=True)) as progress:
            yield _TerminalBar(progress, progress.add_task(clean(title), total=total or None, note=""))
