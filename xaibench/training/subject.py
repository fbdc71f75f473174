"""The plain weights that a training starts from: found, or trained first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from xaibench import registry
from xaibench.models.build import brings_weights
from xaibench.models.open import model_card
from xaibench.training.api import Training, plan_training
from xaibench.training.config import TrainingConfig
from xaibench.training.find import WeightsRequest, published_weights
from xaibench.training.resources import TrainingResources

Report = Callable[[str], None]
"""Is given a line of text about what begins now."""


def report_nothing(line: str) -> None:
    """A `Report` that nobody reads."""


def has_weights(model: str, dataset: str) -> bool:
    """Whether a model's plain weights for a data set are given, and not trained here by the data set's recipe."""
    card, data = model_card(model), registry.card("dataset", dataset)
    known = brings_weights(card) or published_weights(card, data, WeightsRequest("plain"))
    return bool(known) or data.recipe.get("start") != "scratch"


@dataclass(frozen=True)
class Subject:
    """The request of a training, and how the baseline that it may start from is trained.

    baseline_recipe: what is changed in the baseline's recipe, to which the recipe of the request does not apply.
    """

    config: TrainingConfig
    baseline_recipe: dict[str, Any] = field(default_factory=dict)

    def plan_baseline(self, seed: int) -> Training:
        """The training of the baseline, a classifier on intact images."""
        return plan_training(self.baseline_config(seed))

    def baseline_config(self, seed: int) -> TrainingConfig:
        """The request of that training."""
        fields = {"task": "classifier", "task_options": {}, "recipe": self.baseline_recipe, "weights": "plain"}
        return self.config.with_fields(**fields, seed=seed, name=None)

    def baseline(self, seed: int, resources: TrainingResources, report: Report = report_nothing) -> str:
        """The weights that the training starts from, as `--weights` takes them: those of the request where it names
        some or the model has some, else those of the baseline, which is trained now where that is not done."""
        config = self.config
        if config.weights != "plain" or has_weights(config.model, config.dataset):
            return config.weights
        training = self.plan_baseline(seed)
        if not training.path.is_file():
            report(f"the baseline is not there yet: training {training.title} first, by the recipe of {config.dataset}")
        return str(training.run(resources=resources))
