"""What a model is trained for: an object per task, which gives the training loop its loss, data and evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn

from xaibench.cards import Geometry
from xaibench.datasets.base import Dataset

if TYPE_CHECKING:
    from xaibench.models.base import Model
    from xaibench.training.recipe import Recipe

Loss = Callable[[nn.Module, Any], dict[str, Tensor]]
"""A network and a batch to scalar terms, `loss` among them."""
Evaluate = Callable[[nn.Module], dict[str, float]]
"""A network to metrics by name."""


@dataclass(frozen=True)
class Split:
    """The images that a model learns from, those that choose its best epoch, and how photos become its input."""

    train: Dataset
    validation: Dataset
    geometry: Geometry


LAST = "epoch"
"""What a task monitors that keeps the last epoch, since without labels it cannot choose the best."""


@dataclass(frozen=True)
class Objective:
    """What the training loop is given.

    net: the module whose parameters are optimised: the model's network, or a module that holds it beside parts that are
    dropped after training. loss, data, evaluate and monitor are those of `training.loop.fit`. after_epoch(net, metrics)
    is called in one process after each epoch, with the epoch's row of metrics, for what is to be kept of it.
    """

    net: nn.Module
    loss: Loss
    data: Any
    evaluate: Evaluate
    monitor: str = "accuracy"
    after_epoch: Callable[[nn.Module, dict[str, float]], None] | None = None


class Task(Protocol):
    """What a model is trained for, as a frozen dataclass of its parameters."""

    name: str
    """As in `xaibench train NAME`."""

    @property
    def key_fields(self) -> dict[str, Any]:
        """Every parameter that can change the result, as JSON: part of the training's key and of the header of its
        weights."""

    @property
    def recipe(self) -> dict[str, Any]:
        """Fields of the recipe that are usual for it, over those of the data set and the model; tasks without this
        property have none."""

    def objective(self, model: Model, split: Split, recipe: Recipe, seed: int, workers: int) -> Objective:
        """What the loop trains; model.net has its first weights, and is exported when the training is done.

        Raises XaibenchError for a model or data that cannot be trained so.
        """
