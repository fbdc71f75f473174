"""What must hold whatever is read: it works or is one line, in 20 seconds, and nothing is written or left elsewhere."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from xaibench.errors import XaibenchError

sys.path.insert(0, str(Path(__file__).parent))  # test folders are no packages

SECONDS = 20


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
            assert text.strip() and "\n" not in text and "Traceback" not in text, repr(text)
            assert len(text) < 3000, len(text)
            return text
    return None


@pytest.fixture
def said(command):
    """said("status", ...): the exit status of a command that ends in time, and in at most one line of error."""

    def call(*words: object, lines: int = 1) -> tuple[int, str, str]:
        with in_time():
            status, out, err = command(*words)
        assert status in (0, 1, 2), (words, status, err)
        assert "Traceback" not in out + err
        if status == 2:
            assert err.startswith("xaibench: ") and len(err.splitlines()) <= lines, (words, err)
        printed = out + err
        assert all(character.isprintable() or character == "\n" for character in printed), (words, repr(printed))
        return status, out, err

    return call


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
