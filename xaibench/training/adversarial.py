"""Adversarial training: a classifier learns from images that an attack has changed. Madry et al., ICLR 2018.

As ObEy does (Schulze, Ho, Zemel 2023): a trained classifier is trained further, all of its layers, by Adam at 1e-4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from xaibench.datasets.base import Dataset
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding, Model
from xaibench.seeds import generator
from xaibench.training import metrics
from xaibench.training.classifier import (
    MONITOR,
    classification_loss,
    classification_metrics,
    validation_batches,
    validation_groups,
)
from xaibench.training.data import TrainingImages
from xaibench.training.pgd import NORMS, attack, random_change
from xaibench.training.processes import parts_of_all
from xaibench.training.recipe import Recipe
from xaibench.training.task import Objective, Split

# Paper: ten epochs more by Adam at 1e-4, times 0.1 after epochs 4 and 6.
RECIPE = {
    "start": "plain", "epochs": 10, "optimizer": "adam", "learning_rate": 1e-4, "weight_decay": 0.0,
    "schedule": "step", "milestones": (4, 6), "step_factor": 0.1,
}  # fmt: skip


@dataclass(frozen=True)
class Adversarial:
    """Training on attacked images only, each attacked anew in every epoch, from the weights of the plain model.

    norm: `linf` or `l2`, of the change of an image's pixels, which are in [0, 1]. epsilon: the largest change. steps
    and step_size: those of the attack; by default a step is 2.5 epsilon / steps long, as in Madry et al. 2018, so that
    an attack can cross the ball. The epoch with the highest robust accuracy is kept, which is that on validation images
    under the same attack. Raises XaibenchError for numbers that are out of range.
    """

    norm: str = "linf"
    epsilon: float = 2 / 255
    steps: int = 7
    step_size: float | None = None
    name: str = "adversarial"

    def __post_init__(self):
        if self.norm not in NORMS:
            raise XaibenchError(f"--norm {self.norm} is none of {', '.join(NORMS)}")
        largest = 1.0 if self.norm == "linf" else float("inf")
        if not 0 <= self.epsilon <= largest:
            allowed = "0 to 1" if self.norm == "linf" else "0 or more"
            raise XaibenchError(f"--epsilon {self.epsilon:g} is out of range; pixels are in [0, 1], give {allowed}")
        if self.steps < 1:
            raise XaibenchError(f"--steps {self.steps} is no attack; give 1 or more")
        if self.step_size is not None and not self.step_size > 0:
            raise XaibenchError(f"--step-size {self.step_size:g} goes nowhere; give more than 0")

    @property
    def stride(self) -> float:
        """The length of a step."""
        return 2.5 * self.epsilon / self.steps if self.step_size is None else self.step_size

    @property
    def key_fields(self) -> dict[str, Any]:
        """The attack."""
        return {"norm": self.norm, "epsilon": self.epsilon, "steps": self.steps, "step_size": self.stride}

    @property
    def recipe(self) -> dict[str, Any]:
        """The paper's numbers, from plain weights."""
        return RECIPE

    def objective(self, model: Model, split: Split, recipe: Recipe, seed: int, workers: int) -> Objective:
        """The recipe's loss on attacked images; metrics of clean and of attacked validation images."""
        images = TrainingImages(split.train, model.encoding, split.geometry, recipe.augmentation, seed, recipe.labels)
        batches = validation_batches(split.validation, model, recipe.batch_size, workers, recipe.labels)
        attacked = Attacked(self, model.net, model.encoding, recipe.loss, seed)
        learn = classification_loss(recipe, images, None)

        def loss(net: nn.Module, batch: tuple[Tensor, Tensor, Sequence[str]]) -> dict[str, Tensor]:
            inputs, labels, image_ids = batch
            return learn(net, (attacked(inputs, labels, image_ids, images.epoch), labels, image_ids))

        def evaluate(net: nn.Module) -> dict[str, float]:
            return classification_metrics(net, batches) | robust_metrics(
                attacked, split.validation, batches, recipe.batch_size
            )

        return Objective(model.net, loss, images, evaluate, monitor=f"robust_{MONITOR[recipe.labels]}")


@dataclass(frozen=True)
class Attacked:
    """Attacks on encoded images of a network, in evaluation mode: normalisation layers use their running statistics, so
    that no image is attacked through another one."""

    task: Adversarial
    net: nn.Module
    encoding: Encoding
    loss: str
    seed: int

    def __call__(self, inputs: Tensor, labels: Tensor, image_ids: Sequence[str], epoch: int | str) -> Tensor:
        """Encoded attacked images (N, C, H, W); starts are drawn from (seed, "attack", image id, epoch)."""
        task, pixels = self.task, pixels_of(inputs, self.encoding)
        starts = [
            random_change(pixels.shape[1:], task.norm, task.epsilon, generator(self.seed, "attack", image_id, epoch))
            for image_id in image_ids
        ]
        wrong = summed_loss(self.loss, labels)
        with in_evaluation(self.net):
            found = attack(
                lambda images: wrong(self.net(self.encoding.of_pixels(images))), pixels, start=torch.stack(starts),
                norm=task.norm, epsilon=task.epsilon, steps=task.steps, step_size=task.stride,
            )  # fmt: skip
        return self.encoding.of_pixels(found)


def summed_loss(kind: str, labels: Tensor) -> Callable[[Tensor], Tensor]:
    """What an attack raises, a function of logits (N, K): the recipe's loss without smoothing, summed over images."""

    def loss(logits: Tensor) -> Tensor:
        if kind == "cross-entropy":
            return F.cross_entropy(logits, labels, reduction="sum")
        truth = labels if labels.ndim == 2 else F.one_hot(labels, logits.shape[1])
        return F.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype), reduction="sum")

    return loss


def pixels_of(inputs: Tensor, encoding: Encoding) -> Tensor:
    """The pixels (N, colours, H, W) in [0, 1] of encoded images (N, C, H, W), complements left out."""
    mean, std = (torch.tensor(v).to(inputs)[:, None, None] for v in (encoding.mean, encoding.std))
    return (inputs[:, : len(encoding.mean)] * std + mean).clamp(0, 1)


@contextmanager
def in_evaluation(net: nn.Module) -> Iterator[None]:
    """Every module of a network in evaluation mode for a while, and then back."""
    training = [module for module in net.modules() if module.training]  # not all, where only the head learns
    net.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def robust_metrics(attacked: Attacked, dataset: Dataset, batches: DataLoader, batch_size: int) -> dict[str, float]:
    """Accuracy, or F1 where images have several labels, on attacked images: `robust_accuracy` or `robust_f1`.

    batches are those of `validation_batches` of the data set and the batch size.
    """
    found = []
    device = next(attacked.net.parameters()).device
    for image_ids, (images, labels) in zip(validation_groups(dataset, batch_size), batches, strict=True):
        changed = attacked(images.to(device), labels.to(device), image_ids, "validation")
        with in_evaluation(attacked.net), torch.no_grad():
            found.append((attacked.net(changed).float().cpu(), labels))
    logits, labels = (torch.cat(part) for part in zip(*parts_of_all(found), strict=True))
    if labels.ndim == 1:
        return {"robust_accuracy": metrics.accuracy(logits, labels)}
    return {"robust_f1": metrics.f1(logits, labels)}
