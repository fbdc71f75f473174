"""The weights of those epochs of a training that are on its Pareto front so far: a file each, with its metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from torch import nn

from xaibench.models.state import read_header, save_state
from xaibench.training.guidance.pareto import front
from xaibench.training.times import without_times


@dataclass(frozen=True)
class Kept:
    """The weights of an epoch, and its row of metrics."""

    path: Path
    row: dict[str, float]


def kept_epochs(folder: Path) -> list[Kept]:
    """What is kept in a folder, in the order of epochs; files that cannot be read are left out."""
    found = []
    for path in folder.glob("*.safetensors"):
        try:
            found.append(Kept(path, read_header(path)["epoch"]))
        except (SafetensorError, OSError, ValueError, KeyError):
            continue
    return sorted(found, key=lambda kept: kept.row["epoch"])


def keep_epoch(folder: Path, net: nn.Module, row: dict[str, float], metrics: Sequence[str]) -> None:
    """Keeps the weights of an epoch that is on the front of these metrics, and deletes those that it dominates.

    row has the number of the `epoch`, from 1. Weights of this epoch or a later one are of a training that was killed
    before its checkpoint, and go. Seconds are left out of the file, so that equal trainings have equal ones. Raises
    XaibenchError where nothing can be written.
    """
    known = kept_epochs(folder)
    before = [kept for kept in known if kept.row["epoch"] < row["epoch"]]
    chosen = front([*(kept.row for kept in before), row], metrics)
    for kept in known:
        if kept not in [before[number] for number in chosen if number < len(before)]:
            kept.path.unlink(missing_ok=True)
            kept.path.with_suffix(".test.json").unlink(missing_ok=True)
    if len(before) in chosen:
        save_state(net, folder / f"{int(row['epoch']):04d}.safetensors", {"epoch": without_times(row)})
