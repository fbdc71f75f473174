"""Alignment without labels: a network that is its own teacher learns its answer to intact images also without a cell.

The published recipe (Hesse, Schaub-Meyer, Roth, NeurIPS 2024) asks for the label of intact images and of those that
lost a cell. Here the softmax of the network as it was, of the intact image, stands in the place of the label in both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from xaibench.errors import XaibenchError
from xaibench.models.base import Model
from xaibench.models.copies import copied
from xaibench.training.classifier import Classification, outputs, validation_batches, validation_groups
from xaibench.training.data import Item, RepeatedImages
from xaibench.training.deletion import Deletion, make_deletion
from xaibench.training.recipe import Recipe
from xaibench.training.task import LAST, Loss, Objective, Split

AN_EPOCH = 1024  # images, at least: few photos are passed over several times, so that few epochs are stored
IN_ALL = 8192  # images, at least


@dataclass(frozen=True)
class SelfAlignment(Classification):
    """Fine-tuning on unlabelled images, some of which lose a cell, by the network's own answers to them when intact.

    alignment: the deletions, with the number of images. photos: a folder of photos, or None for the training images of
    the data set.
    """

    photos: Path | None = None

    @property
    def passes(self) -> int:
        """How often an epoch passes over the images."""
        return math.ceil(AN_EPOCH / self.alignment.images)

    @property
    def recipe(self) -> dict[str, Any]:
        """From the plain weights, about 256 steps of SGD whatever the number of images is, at a rate that falls to
        zero.

        The statistics of batch normalisation are kept: those of crops of a few photos cost a network that was trained
        on ImageNet a tenth of its answers (docs/alignment.md).
        """
        return {
            "start": "plain", "epochs": max(1, round(IN_ALL / (self.passes * self.alignment.images))),
            "batch_size": 32, "learning_rate": 0.001, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4,
            "schedule": "cosine", "optimizer": "sgd", "label_smoothing": 0.0, "labels": "single",
            "statistics": "kept",
        }  # fmt: skip

    def objective(self, model: Model, split: Split, recipe: Recipe, seed: int, workers: int) -> Objective:
        """The loss of answers on split.train, whose labels are not used; the last epoch is kept.

        Raises XaibenchError for a recipe that needs labels.
        """
        check_recipe(recipe, model)
        teacher, data = frozen_copy(model.net), split.train
        images = UnlabelledImages(data, model.encoding, split.geometry, recipe.augmentation, seed, passes=self.passes)
        deletion = make_deletion(self.alignment, model.encoding.zero, seed)
        always = make_deletion(self.alignment.model_copy(update={"probability": 1.0}), model.encoding.zero, seed)
        batches = validation_batches(data, model, recipe.batch_size, workers)
        parts = validation_groups(data, recipe.batch_size)
        loss = answer_loss(teacher, deletion, images, soft_targets(recipe))
        return Objective(model.net, loss, images, Agreement(teacher, batches, parts, always), monitor=LAST)


class UnlabelledImages(RepeatedImages):
    """Encoded, augmented images with the number of the pass of the epoch in the place of a label, and their ids."""

    def __getitem__(self, index: int) -> Item:
        image, _, image_id = super().__getitem__(index)
        return image, index // len(self.dataset.ids), image_id


Targets = Callable[[Tensor, Tensor], Tensor]
"""Logits (N, K) of a student and of its teacher to the loss, a scalar."""


def soft_targets(recipe: Recipe) -> Targets:
    """Cross entropy with the teacher's softmax at temperature 1, or, by the recipe's loss, binary cross entropy with
    its sigmoids: means over images, or over images and classes."""
    if recipe.loss == "cross-entropy":
        return lambda logits, answers: F.cross_entropy(logits, answers.softmax(1))
    return lambda logits, answers: F.binary_cross_entropy_with_logits(logits, answers.sigmoid())


def answer_loss(teacher: nn.Module, deletion: Deletion, images: UnlabelledImages, targets: Targets) -> Loss:
    """The loss of batches of `UnlabelledImages`: the student sees images some of which have lost a cell, the teacher
    sees them intact. Besides `loss`, `agreement` is the share of images whose highest logit is the same."""

    def loss(net: nn.Module, batch: tuple[Tensor, Tensor, Sequence[str]]) -> dict[str, Tensor]:
        intact, turns, image_ids = batch
        draws = [f"{image_id}, pass {turn}" for image_id, turn in zip(image_ids, turns.tolist(), strict=True)]
        shown = deletion(intact, draws, images.epoch)
        with torch.no_grad():
            answers = teacher.to(intact.device)(intact.contiguous(memory_format=torch.channels_last))
        logits = net(shown.contiguous(memory_format=torch.channels_last))
        same = (logits.detach().argmax(1) == answers.argmax(1)).float().mean()
        return {"loss": targets(logits, answers), "agreement": same}

    return loss


def frozen_copy(net: nn.Module) -> nn.Module:
    """A copy of a network in evaluation mode that learns nothing."""
    return copied(net)[0].eval().requires_grad_(False)


def check_recipe(recipe: Recipe, model: Model) -> None:
    """Raises XaibenchError for a recipe that a network without labels cannot be trained by."""
    if recipe.label_smoothing or recipe.class_weights or recipe.labels != "single":
        problem = "uses no labels; leave out label_smoothing, class_weights and labels"
    elif (recipe.loss == "binary-cross-entropy") != (model.probability == "sigmoid"):
        usual = {"sigmoid": "binary-cross-entropy", "softmax": "cross-entropy"}[model.probability]
        problem = f"answers by the {model.probability}; take --recipe loss={usual}"
    else:
        return
    raise XaibenchError(f"{model.name}, its own teacher, {problem}")


class Agreement:
    """Evaluation without labels: the share of the images, as they are displayed, whose highest logit is that of the
    network before training, intact (`agreement`) and with one drawn cell deleted (`agreement_deleted`)."""

    def __init__(self, teacher: nn.Module, batches: DataLoader, parts: Sequence[Sequence[str]], delete: Deletion):
        self.teacher, self.batches, self.parts, self.delete = teacher, batches, parts, delete
        self.answers: Tensor | None = None

    def __call__(self, net: nn.Module) -> dict[str, float]:
        """Metrics of a network, which is left in evaluation mode."""
        if self.answers is None:
            self.answers = outputs(self.teacher.to(next(net.parameters()).device), self.batches)[0].argmax(1)
        seen = {"agreement": self.batches, "agreement_deleted": self._deleted()}
        found = {name: outputs(net, batches)[0].argmax(1) for name, batches in seen.items()}
        return {name: float((answers == self.answers).double().mean()) for name, answers in found.items()}

    def _deleted(self) -> Iterator[tuple[Tensor, Tensor]]:
        for part, (images, labels) in zip(self.parts, self.batches, strict=True):
            yield self.delete(images, part, -1), labels  # -1: of no epoch
