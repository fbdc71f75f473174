"""What every fuzzer here shares: how many inputs, and what must hold of each."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xaibench.errors import XaibenchError

SECONDS, LONGEST = 20, 5000  # of an input; characters of a line that is printed


def each(inputs: st.SearchStrategy, examples: int, check: Callable[[Any], None]) -> None:
    """Calls `check` with that many inputs, always the same ones."""
    tried = 0

    @settings(
        derandomize=True, deadline=None, database=None, max_examples=examples, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(inputs)
    def run(case: Any) -> None:
        nonlocal tried
        tried += 1
        check(case)

    run()
    assert tried >= examples, f"only {tried} inputs of {examples} were tried"


@contextmanager
def in_time() -> Iterator[None]:
    """Fails where the block takes longer than 20 seconds: it hangs."""

    def late(number: int, frame: object) -> None:
        raise AssertionError(f"it takes longer than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(read: Callable[[], object]) -> str | None:
    """The message of the one error that is allowed, None where it could be read; every other error is the test's."""
    with in_time():
        try:
            read()
        except XaibenchError as error:
            text = str(error)
            assert text.strip() and "\n" not in text and "Traceback" not in text, repr(text[:500])
            return text
    return None


def files(folder: Path) -> dict[Path, int]:
    """Every file below a folder with the time of its last change."""
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*") if not path.is_dir()}
