"""A command under the fuzzer: it ends in time, and in at most one line of error."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # for `fuzzing.py` and `damage.py`: test folders are no packages

from fuzzing import LONGEST, in_time


@pytest.fixture
def said(command):
    """said("status", ...): exit status, standard output and standard error of a command that ends well or politely."""

    def call(*words: object) -> tuple[int, str, str]:
        with in_time():
            status, out, err = command(*words)
        assert status in (0, 1, 2), (words, status, err[:500])
        assert "Traceback" not in out + err
        if status == 2:
            lines = err.splitlines()
            assert lines and all(line.startswith("xaibench: ") for line in lines[-1:]), (words, err[:500])
            assert all(len(line) < LONGEST for line in lines), (words, err[:500])
        assert all(character.isprintable() or character == "\n" for character in out + err), (words, (out + err)[:500])
        return status, out, err

    return call
