"""How a model is trained: plain numbers, a learning rate as a function of progress, and the key of the result."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Recipe(BaseModel):
    """How weights are optimised; the defaults are the paper's fine-tuning on deletions.

    start: from `plain` weights of the same model and data, or from `scratch`. schedule: `step` multiplies the rate by
    step_factor every step_epochs; `one-cycle` warms up over a share of all steps and decays to zero (both by a cosine).
    augmentation: `crop-flip` (a random resized crop and a flip) or `flip`. optimizer: `sgd`, or `adamw`, which has no
    use for momentum and nesterov. Rates are per step of batch_size images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    start: Literal["plain", "scratch"] = "plain"
    epochs: int = Field(30, ge=1)
    batch_size: int = Field(256, ge=1)
    learning_rate: float = Field(0.001, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(1e-4, ge=0)
    schedule: Literal["step", "one-cycle"] = "step"
    step_epochs: int = Field(10, ge=1)
    step_factor: float = Field(0.1, gt=0)
    warmup: float = Field(0.3, ge=0, lt=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    loss: Literal["cross-entropy", "binary-cross-entropy"] = "cross-entropy"
    augmentation: Literal["crop-flip", "flip"] = "crop-flip"
    optimizer: Literal["sgd", "adamw"] = "sgd"

    @property
    def facts(self) -> dict[str, Any]:
        """What keys and headers of weights hold; they take stochastic gradient descent for granted."""
        return self.model_dump(exclude={"optimizer"} if self.optimizer == "sgd" else set())

    def rate_at(self, step: int, steps: int) -> float:
        """The learning rate of step 0..steps-1 of the whole training."""
        if self.schedule == "step":
            epoch = step * self.epochs // steps
            return self.learning_rate * self.step_factor ** (epoch // self.step_epochs)
        warm = self.warmup * steps
        if step < warm:
            return self.learning_rate * (0.04 + 0.96 * (1 - math.cos(math.pi * step / warm)) / 2)
        return self.learning_rate * (1 + math.cos(math.pi * (step - warm) / (steps - warm))) / 2
