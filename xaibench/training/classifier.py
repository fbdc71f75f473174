"""Training a classifier, on intact images or on images with deletions: what a first run does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from xaibench.cards import Alignment
from xaibench.datasets.base import Dataset
from xaibench.datasets.loading import load_groups
from xaibench.models.base import Encoding, Model
from xaibench.models.outputs import is_right
from xaibench.training import metrics
from xaibench.training.data import TrainingImages, class_counts, multi_hot
from xaibench.training.deletion import Deletion, make_deletion
from xaibench.training.processes import of_all, own_part, parts_of_all, process_mean
from xaibench.training.recipe import Recipe
from xaibench.training.task import Objective, Split


@dataclass(frozen=True)
class Classification:
    """Training on labels, on intact images or, with an alignment, on images that lose cells, pixels or parts."""

    alignment: Alignment | None = None
    name: str = "classifier"

    @property
    def key_fields(self) -> dict[str, Any]:
        """Nothing but the alignment, which is a key field of every training."""
        return {}

    def objective(self, model: Model, split: Split, recipe: Recipe, seed: int, workers: int) -> Objective:
        """The recipe's loss on the images; the epoch with the highest accuracy on intact validation images is kept, of
        images with several labels that with the highest F1."""
        images = TrainingImages(split.train, model.encoding, split.geometry, recipe.augmentation, seed, recipe.labels)
        deletion = make_deletion(self.alignment, model.encoding.zero, seed)
        validation = validation_batches(split.validation, model, recipe.batch_size, workers, recipe.labels)
        loss = classification_loss(recipe, images, deletion)
        return Objective(
            model.net, loss, images, lambda net: classification_metrics(net, validation), monitor=MONITOR[recipe.labels]
        )


MONITOR = {"single": "accuracy", "several": "f1"}
"""The metric that chooses the best epoch, by the recipe's `labels`."""


def classification_loss(recipe: Recipe, images: TrainingImages, deletion: Deletion | None):
    """The loss of a recipe, with the accuracy, or F1 where images have several labels, on the batch.

    Cross entropy, or binary cross entropy on one-hot or multi-hot labels; with class weights, the mean over a batch is
    weighted by the inverse number of training images of each label.
    """
    weights = 1 / class_counts(images.dataset) if recipe.class_weights else None

    def loss(net: nn.Module, batch: tuple[Tensor, Tensor, Sequence[str]]) -> dict[str, Tensor]:
        inputs, labels, image_ids = batch
        if deletion is not None:
            inputs = deletion(inputs, image_ids, images.epoch)
        logits = net(inputs.contiguous(memory_format=torch.channels_last))
        value = label_loss(recipe, logits, labels, weights)
        with torch.no_grad():
            if labels.ndim == 2:
                return {"loss": value, "f1": torch.tensor(metrics.f1(of_all(logits), of_all(labels)))}
            return {"loss": value, "accuracy": is_right(logits, labels).float().mean()}

    return loss


def label_loss(recipe: Recipe, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """The loss of a recipe, a scalar, of logits (N, K) and labels (N,) int64 or multi-hot (N, K).

    weights (K,): what an image of each class counts in the mean over the batch.
    """
    weights = None if weights is None else weights.to(logits)
    if recipe.loss == "cross-entropy":
        if weights is None:
            return F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        values = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing, reduction="none")
    else:
        truth = labels if labels.ndim == 2 else F.one_hot(labels, logits.shape[1])
        if weights is None:
            return F.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype))
        values = F.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype), reduction="none").mean(1)
    return (values * weights[labels]).sum() / process_mean(weights[labels].sum())


def validation_batches(
    dataset: Dataset, model: Model, batch_size: int, workers: int, labels: str = "single"
) -> DataLoader:
    """Batches of (encoded images, labels) of all images of a data set, in order; labels of `several` are multi-hot.

    Where several processes train together, those that are this one's (`validation_groups`).
    """
    groups = validation_groups(dataset, batch_size)
    return load_groups(dataset, groups, workers, partial(_images_and_labels, dataset, model.encoding, labels))


def validation_groups(dataset: Dataset, batch_size: int) -> list[Sequence[str]]:
    """The image ids of each batch of `validation_batches`."""
    return own_part([dataset.ids[at : at + batch_size] for at in range(0, len(dataset.ids), batch_size)])


def _images_and_labels(dataset: Dataset, encoding: Encoding, labels: str, samples: list) -> tuple[Tensor, Tensor]:
    """Encoded images of samples and their labels; a function of the module, which can be sent to loading processes."""
    images = encoding(np.stack([s.image for s in samples]))
    if labels == "several":
        return images, torch.stack([multi_hot(dataset, s.image_id) for s in samples])
    return images, torch.tensor([s.label for s in samples])


@torch.no_grad()
def outputs(net: nn.Module, batches: DataLoader) -> tuple[Tensor, Tensor]:
    """Logits (N, K) in evaluation mode and labels, (N,) or multi-hot (N, K), of all images, on the CPU.

    batches are those of `validation_batches`; processes that train together share the passes and get all logits.
    """
    net.eval()
    device = next(net.parameters()).device
    found = [(net(images.to(device)).float().cpu(), labels) for images, labels in batches]
    logits, labels = zip(*parts_of_all(found), strict=True)
    return torch.cat(logits), torch.cat(labels)


def classification_metrics(net: nn.Module, batches: DataLoader) -> dict[str, float]:
    """Accuracy or, where images have several labels, F1, mAP and the number of classes that mAP is the mean of."""
    logits, labels = outputs(net, batches)
    if labels.ndim == 1:
        return {"accuracy": metrics.accuracy(logits, labels)}
    value, classes = metrics.mean_average_precision(logits, labels)
    return {"f1": metrics.f1(logits, labels), "map": value, "map_classes": classes}


def accuracy(net: nn.Module, batches: DataLoader) -> float:
    """The share of images, in [0, 1], whose highest logit is their label's."""
    return metrics.accuracy(*outputs(net, batches))
