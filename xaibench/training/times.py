"""The seconds among the metrics of an epoch, which differ between equal trainings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TIMES = ("seconds", "train_seconds")
"""Of an epoch, and of it without evaluation."""


def without_times(row: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of an epoch that are the same in every equal training: what files of weights hold, whose digests are
    part of keys."""
    return {name: value for name, value in row.items() if name not in TIMES}
