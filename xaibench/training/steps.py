"""Parts of a training step: optimizer and modes of a recipe, means of loss terms, errors for values not finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xaibench.errors import XaibenchError
from xaibench.training.head import normalisations
from xaibench.training.recipe import Recipe

NAMED = 8  # ids of images in a message


def make_optimizer(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer of a recipe over all parameters of a network; the loop sets its learning rate at every step."""
    rates = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    if recipe.optimizer in ("adam", "adamw"):
        return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer](net.parameters(), **rates)
    return torch.optim.SGD(net.parameters(), momentum=recipe.momentum, nesterov=recipe.nesterov, **rates)


def set_modes(net: nn.Module, recipe: Recipe) -> None:
    """Puts a network into training mode; in evaluation mode are what draws where the recipe has dropout off, and batch
    normalisation where it keeps its statistics."""
    net.train(recipe.dropout == "drawn")
    for module in normalisations(net).values():
        module.train(recipe.statistics == "batch")


class Means:
    """Running means of the loss terms of an epoch, over the last batches more than the first."""

    def __init__(self, momentum: float = 0.95):
        self._momentum, self._sums, self._weight = momentum, {}, 0.0

    def add(self, values: dict[str, float]) -> None:
        """Counts the terms of one batch."""
        for name, value in values.items():
            self._sums[name] = self._momentum * self._sums.get(name, 0.0) + (1 - self._momentum) * value
        self._weight = self._momentum * self._weight + 1 - self._momentum

    def values(self) -> dict[str, float]:
        """The means so far."""
        return {name: value / self._weight for name, value in self._sums.items()}


def validate_terms(terms: dict[str, Tensor], where: str, image_ids: Sequence[str]) -> dict[str, float]:
    """The values of scalar loss terms; raises XaibenchError that names place and images if one is not finite."""
    values = {name: float(value.detach()) for name, value in terms.items()}
    for name, value in values.items():
        check_finite(name, value, where, image_ids)
    return values


def check_finite(what: str, value: float, where: str, image_ids: Sequence[str]) -> None:
    """Raises XaibenchError that names the place and up to eight of the images if a value is not finite."""
    if math.isfinite(value):
        return
    more = f" and {len(image_ids) - NAMED} more" if len(image_ids) > NAMED else ""
    named = f" (images {', '.join(image_ids[:NAMED])}{more})" if image_ids else ""
    hint = ", or look at these images" if image_ids else ""
    raise XaibenchError(f"{what} is {value} in {where}{named}; lower the learning rate (--learning-rate){hint}")


def ids_in(batch: Any) -> list[str]:
    """The image ids in a batch: its first list of texts; empty where there is none."""
    parts = batch.values() if isinstance(batch, dict) else batch if isinstance(batch, (list, tuple)) else ()
    for part in parts:
        if isinstance(part, (list, tuple)) and part and all(isinstance(item, str) for item in part):
            return list(part)
    return []
