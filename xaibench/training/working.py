"""The files that a training needs only until its weights are stored."""

from __future__ import annotations

import shutil
from pathlib import Path

BEST = "best.safetensors"
"""The weights of the best epoch so far."""


def working_files(folder: Path) -> list[Path]:
    """What a training keeps in its folder until its weights are stored: checkpoints, and the best weights so far."""
    names = ("checkpoint", "checkpoint.part", "checkpoint.old", BEST)
    return [path for name in names if (path := folder / name).exists()]


def discard(folder: Path) -> None:
    """Removes the working files of a training that is done; each may be larger than its weights."""
    for path in working_files(folder):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
