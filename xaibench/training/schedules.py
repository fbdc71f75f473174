"""Schedules: functions of a training's progress that give what the learning rate of a step is multiplied by.

Keyword parameters of the schedules here are fields of the recipe. A plug-in registers another by `@xaibench.schedule`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Where a training is.

    step: 0 to steps - 1, counted over the whole training. steps: of the whole training. epochs: of the whole training,
    of which the first head_epochs train the head alone.
    """

    step: int
    steps: int
    epochs: int
    head_epochs: int = 0

    @property
    def fraction(self) -> float:
        """step / steps, in [0, 1)."""
        return self.step / self.steps

    @property
    def epoch(self) -> int:
        """The epoch of the step, 0 to epochs - 1."""
        return self.step * self.epochs // self.steps

    @property
    def stage_epoch(self) -> int:
        """The epoch counted from the beginning of its stage: that of the head, or that of all layers."""
        return self.epoch - self.head_epochs if self.epoch >= self.head_epochs else self.epoch


def constant(progress: Progress) -> float:
    """1 at every step."""
    return 1.0


def step(progress: Progress, step_epochs: int = 10, step_factor: float = 0.1, milestones: Sequence[int] = ()) -> float:
    """step_factor to the power of the drops so far: one every step_epochs, or one at each of milestones.

    Both are counted in epochs from the beginning of each stage.
    """
    done = progress.stage_epoch
    drops = sum(done >= end for end in milestones) if milestones else done // step_epochs
    return step_factor**drops


def one_cycle(progress: Progress, warmup: float = 0.3) -> float:
    """From 0.04 to 1 over the share `warmup` of all steps, then to 0, both by a cosine."""
    warm = warmup * progress.steps
    if progress.step < warm:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * progress.step / warm)) / 2
    return (1 + math.cos(math.pi * (progress.step - warm) / (progress.steps - warm))) / 2


def cosine(progress: Progress) -> float:
    """From 1 at the first step to 0 after the last one, by a cosine."""
    return (1 + math.cos(math.pi * progress.step / progress.steps)) / 2


def lico(progress: Progress) -> float:
    """cos(7 pi k / 16 K) at step k of K (Lei et al. 2023)."""
    return math.cos(7 * math.pi * progress.step / (16 * progress.steps))
