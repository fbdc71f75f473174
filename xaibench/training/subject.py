"""What is trained on what, and the plain weights that a training starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.models.build import brings_weights
from xaibench.models.open import model_card
from xaibench.training.api import Training, plan_training
from xaibench.training.find import WeightsRequest, published_weights
from xaibench.training.task import Task


def has_weights(model: str, dataset: str) -> bool:
    """Whether a model's plain weights for a data set are given, and not trained here by the data set's recipe."""
    card, data = model_card(model), registry.card("dataset", dataset)
    known = brings_weights(card) or published_weights(card, data, WeightsRequest("plain"))
    return bool(known) or data.recipe.get("start") != "scratch"


@dataclass(frozen=True)
class Subject:
    """A model, its data and its recipe.

    The fields are those of `training.api.plan_training`, and `first`: what is changed in the recipe of the baseline,
    for which `changes` are not.
    """

    model: str
    dataset: str
    data_root: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    weights: str = "plain"
    download: bool = False
    seed: int = 0
    image_size: int | None = None
    first: dict[str, Any] = field(default_factory=dict)

    def plan(self, task: Task | None, seed: int, weights: str = "plain") -> Training:
        """A training, or that of the baseline for no task."""
        return plan_training(
            self.model, self.dataset, None, data_root=self.data_root, options=self.options,
            changes=self.changes if task else self.first,
            weights=weights, download=self.download, seed=seed, image_size=self.image_size, task=task,
        )  # fmt: skip

    def baseline(self, seed: int, say: Callable[[str], None] = lambda words: None, **how: Any) -> str:
        """The weights that a further training starts from: those that are named, published, or trained now with this
        seed by the data set's recipe. how: as of `Training.carry_out`."""
        if self.weights != "plain" or has_weights(self.model, self.dataset):
            return self.weights
        training = self.plan(None, seed)
        if not training.path.is_file():
            say(f"the baseline is not there yet: training {training.title} first, by the recipe of {self.dataset}")
        return str(training.run(**how))
