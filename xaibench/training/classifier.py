"""Training a classifier, on intact images or on images with deletions: what a first run does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from xaibench.cards import Alignment
from xaibench.datasets.base import Dataset
from xaibench.datasets.loading import load_groups
from xaibench.models.base import Model
from xaibench.training.data import TrainingImages
from xaibench.training.deletion import Deletion, make_deletion
from xaibench.training.recipe import Recipe
from xaibench.training.task import Objective, Split


@dataclass(frozen=True)
class Classification:
    """Training on labels, on intact images or, with an alignment, on images that lose cells, pixels or parts."""

    alignment: Alignment | None = None
    name: str = "classifier"

    @property
    def facts(self) -> dict[str, Any]:
        """Nothing beside the alignment, which every training has among its facts."""
        return {}

    def objective(self, model: Model, split: Split, recipe: Recipe, seed: int, workers: int) -> Objective:
        """The recipe's loss on the images; the epoch with the highest accuracy on intact validation images is kept."""
        images = TrainingImages(split.train, model.encoding, split.geometry, recipe.augmentation, seed)
        deletion = make_deletion(self.alignment, model.encoding.zero, seed)
        validation = validation_batches(split.validation, model, recipe.batch_size, workers)
        loss = classification_loss(recipe, images, deletion)
        return Objective(model.net, loss, images, lambda net: {"accuracy": accuracy(net, validation)})


def classification_loss(recipe: Recipe, images: TrainingImages, deletion: Deletion | None):
    """The loss of a recipe, cross entropy or binary cross entropy on one-hot labels, with the accuracy on the batch."""

    def loss(net: nn.Module, batch: tuple[Tensor, Tensor, Sequence[str]]) -> dict[str, Tensor]:
        inputs, labels, image_ids = batch
        if deletion is not None:
            inputs = deletion(inputs, image_ids, images.epoch)
        logits = net(inputs.contiguous(memory_format=torch.channels_last))
        if recipe.loss == "binary-cross-entropy":
            value = F.binary_cross_entropy_with_logits(logits, F.one_hot(labels, logits.shape[1]).to(logits.dtype))
        else:
            value = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        return {"loss": value, "accuracy": (logits.argmax(1) == labels).float().mean()}

    return loss


def validation_batches(dataset: Dataset, model: Model, batch_size: int, workers: int) -> DataLoader:
    """Batches of (encoded images, labels) of all images of a data set, in order."""

    def collate(samples: list) -> tuple[Tensor, Tensor]:
        return model.encoding(np.stack([s.image for s in samples])), torch.tensor([s.label for s in samples])

    groups = [dataset.ids[at : at + batch_size] for at in range(0, len(dataset.ids), batch_size)]
    return load_groups(dataset, groups, workers, collate)


@torch.no_grad()
def accuracy(net: nn.Module, batches: DataLoader) -> float:
    """The share of images, in [0, 1], whose highest logit is their label's."""
    net.eval()
    device = next(net.parameters()).device
    right = count = 0
    for images, labels in batches:
        right += int((net(images.to(device)).argmax(1).cpu() == labels).sum())
        count += len(labels)
    return right / count
