"""Which of the processes of a training this one is, by what `torchrun`, `accelerate launch` or `mpirun` tells each."""

from __future__ import annotations

import os

NUMBERS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
LAUNCHED = "XAIBENCH_LAUNCHED"
"""A variable that tells a process that the one which started it says why all of them end."""


def process_number() -> int:
    """The number of this process, from 0; a training alone is process 0."""
    return _first_of(NUMBERS, 0)


def process_count() -> int:
    """How many processes train together, at least 1."""
    return max(_first_of(COUNTS, 1), 1)


def local_count() -> int:
    """How many of them are on this machine, at least 1."""
    return max(_first_of(("LOCAL_WORLD_SIZE",), 1), 1)


def first_process() -> bool:
    """Whether this process is the one that writes and speaks; a training alone is."""
    return process_number() == 0


def speaks_of_the_end() -> bool:
    """Whether this process says that all end because of a signal or of another process."""
    return first_process() and LAUNCHED not in os.environ


def _first_of(names: tuple[str, ...], otherwise: int) -> int:
    """The first of these variables of the environment that is a whole number."""
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdecimal()), otherwise)
