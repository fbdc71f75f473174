"""Freed memory is used again: seen by the page faults that the system counts."""

import os
import platform
import subprocess
import sys

import pytest

from xaibench.allocation import BY_THE_USER, keep_freed_memory

SIZE = 1 << 26
FAULTS = f"""
import resource, sys
from xaibench.allocation import keep_freed_memory
told = keep_freed_memory() if sys.argv[1] == "kept" else False
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * {SIZE}
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
first, second = faults(), faults()
print(told, first, second)
"""
pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")


def _faults(how, **settings):
    """Whether the C library was told, and the page faults of the same 64 MiB asked for and freed twice."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(BY_THE_USER)}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, how], env=plain | settings, capture_output=True, text=True, check=True
    )
    told, first, second = done.stdout.split()
    return told == "True", int(first), int(second)


def test_memory_that_was_freed_is_asked_for_anew_only_by_default():
    pages = SIZE // os.sysconf("SC_PAGE_SIZE")
    told, first, second = _faults("kept")
    assert told and first > pages / 2 and second < pages / 100
    told, first, second = _faults("default")
    assert not told and min(first, second) > pages / 2


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "LD_PRELOAD"])
def test_settings_of_the_user_are_left_alone(name):
    assert not keep_freed_memory({name: "1"})
