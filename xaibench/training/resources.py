"""Where a training runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingResources:
    """Processes that load images, the device, the precision of the passes, and whether progress is hidden.

    workers: 0 loads in this process. device: a name of torch, such as `cpu`, `cuda`, `cuda:1`. precision: `float32`,
    `bfloat16` or `float16`. None of them is part of the key of a training.
    """

    workers: int = 0
    device: str = "cpu"
    precision: str = "float32"
    quiet: bool = False
