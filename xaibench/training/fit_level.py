"""Under- and overfitting on purpose, as ObEy does (Schulze, Ho, Zemel 2023), to see what it does to explanations."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from xaibench.datasets.base import Dataset
from xaibench.datasets.wrapped import Some
from xaibench.errors import XaibenchError
from xaibench.models.base import Model
from xaibench.seeds import derive
from xaibench.training.classifier import MONITOR, classification_loss, classification_metrics, validation_batches
from xaibench.training.data import RepeatedImages, TrainingImages
from xaibench.training.recipe import Recipe
from xaibench.training.task import Objective, Split

LEVELS = ("over", "under")
SHARE, PASSES = 0.1, 2


@dataclass(frozen=True)
class FitLevel:
    """Classification that fits its training images too well, or hardly at all.

    `over`: a tenth of the images of each class, twice the epochs (an epoch of the recipe passes over them twice), and
    the epoch with the highest accuracy on these images is kept. `under`: one epoch at the recipe's learning rate, which
    neither warms up nor decays. Raises XaibenchError for any other level.
    """

    level: str

    def __post_init__(self):
        if self.level not in LEVELS:
            raise XaibenchError(f"--fit {self.level} is none of normal, {', '.join(LEVELS)}")

    @property
    def name(self) -> str:
        """`overfitted` or `underfitted`."""
        return f"{self.level}fitted"

    @property
    def key_fields(self) -> dict[str, Any]:
        """What is learnt from, and how often; the recipe says the rest."""
        return {"share": SHARE, "passes": PASSES} if self.level == "over" else {}

    @property
    def recipe(self) -> dict[str, Any]:
        """One epoch, for underfitting."""
        return {"epochs": 1, "schedule": "constant"} if self.level == "under" else {}

    def check(self, recipe: Recipe) -> None:
        """Raises XaibenchError for more epochs than underfitting has."""
        if self.level == "under" and recipe.epochs != 1:
            raise XaibenchError(f"--fit under is one epoch, and the recipe has {recipe.epochs}; leave out epochs")

    def objective(self, model: Model, split: Split, recipe: Recipe, seed: int, workers: int) -> Objective:
        """The recipe's loss, and for overfitting also the metrics of the images that are learnt."""
        over = self.level == "over"
        learnt = Some(split.train, class_share(split.train, SHARE, seed)) if over else split.train
        arguments = learnt, model.encoding, split.geometry, recipe.augmentation, seed, recipe.labels
        images = RepeatedImages(*arguments, passes=PASSES) if over else TrainingImages(*arguments)
        evaluated = {"": split.validation} | ({"learnt_": learnt} if over else {})
        batches = {
            prefix: validation_batches(data, model, recipe.batch_size, workers, recipe.labels)
            for prefix, data in evaluated.items()
        }

        def evaluate(net) -> dict[str, float]:
            found = {prefix: classification_metrics(net, some) for prefix, some in batches.items()}
            return {f"{prefix}{name}": value for prefix, some in found.items() for name, value in some.items()}

        monitor = ("learnt_" if over else "") + MONITOR[recipe.labels]
        return Objective(model.net, classification_loss(recipe, images, None), images, evaluate, monitor=monitor)


def class_share(dataset: Dataset, share: float, seed: int) -> list[str]:
    """A share of the images of each class, at least one, in the data set's order; smaller shares are subsets of it.

    An image with several labels counts for its first. Images are ranked by a hash of (seed, id).
    """
    classes = defaultdict(list)
    for image_id in dataset.ids:
        classes[dataset.label(image_id)].append(image_id)
    kept = set()
    for ids in classes.values():
        ranked = sorted(ids, key=lambda image_id: derive(seed, "share of a class", image_id))
        kept.update(ranked[: math.ceil(share * len(ids) - 1e-9)])
    return [image_id for image_id in dataset.ids if image_id in kept]
