"""`xaibench run --profile-trace FILE`: where the time of a few batches goes, for https://ui.perfetto.dev."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from xaibench.errors import XaibenchError
from xaibench.files import obstacle
from xaibench.printing import size_text

BATCHES = 2
"""Traced batches, after one that is not: it warms up. A run with a single batch traces that one. Every operation is an
event of some 300 bytes, so more would make files that no viewer opens."""
ENDINGS = (".json", ".json.gz")


def check_trace(path: Path) -> None:
    """Raises XaibenchError where a trace cannot be written to a path."""
    if not path.name.endswith(ENDINGS):
        raise XaibenchError(f"--profile-trace {path}: name a file that ends in {' or '.join(ENDINGS)}")
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise XaibenchError(f"--profile-trace {path} cannot be written; its folder must be there")


@contextmanager
def tracing(path: Path | None, batches: int, say: Callable[[str], None]) -> Iterator[Tracer]:
    """Records the first of so many batches into a Chrome trace, packed where the name ends in .gz; None: nothing."""
    tracer = Tracer(path, 1 if batches > 1 else 0, say)
    try:
        yield tracer
    finally:
        tracer.end()


class Tracer:
    """Records what the CPU, and a GPU where there is one, does in a few batches; `mark` names stretches of it."""

    def __init__(self, path: Path | None, skipped: int, say: Callable[[str], None]):
        self._path, self._first, self._say = path, skipped, say
        self._batch, self._profile, self._range = 0, None, None
        self._begin_if_due()

    def mark(self, name: str) -> None:
        """From now on the trace says `name`, until the next mark."""
        if self._profile is None:
            return
        from torch.profiler import record_function

        self._close_range()
        self._range = record_function(name)
        self._range.__enter__()

    def next_batch(self) -> None:
        """A batch has ended."""
        self._batch += 1
        if self._profile is not None and self._batch == self._first + BATCHES:
            self.end()
        self._begin_if_due()

    def end(self) -> None:
        """Writes what was recorded; later calls do nothing."""
        if self._profile is None:
            return
        self._close_range()
        profile, self._profile = self._profile, None
        profile.__exit__(None, None, None)
        path = self._path
        try:
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                made = Path(folder) / path.name
                profile.export_chrome_trace(str(made))
                size = made.stat().st_size
                made.replace(path)
        except OSError as error:
            raise obstacle(error, path) from error
        number = self._batch - self._first
        self._say(f"trace of {number} batch{'' if number == 1 else 'es'}: {path} ({size_text(size)})")

    def _begin_if_due(self) -> None:
        if self._path is None or self._batch != self._first or self._profile is not None:
            return
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it prints an error where there is no GPU
        import torch
        from torch.profiler import ProfilerActivity, profile

        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        self._profile = profile(activities=activities)
        self._profile.__enter__()

    def _close_range(self) -> None:
        if self._range is not None:
            self._range.__exit__(None, None, None)
            self._range = None
