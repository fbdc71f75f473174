"""Training a classifier, intact or on images with deleted cells: what `xaibench train` and a first run do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from xaibench.cards import Alignment, Geometry
from xaibench.datasets.base import Dataset
from xaibench.datasets.loading import load_groups
from xaibench.models.base import Model
from xaibench.models.state import save_state
from xaibench.training.data import TrainingImages
from xaibench.training.deletion import Deletion, make_deletion
from xaibench.training.loop import Trained, fit
from xaibench.training.recipe import Recipe


@dataclass(frozen=True)
class Split:
    """The images that a model learns from, those that choose its best epoch, and how photos become its input."""

    train: Dataset
    validation: Dataset
    geometry: Geometry


def train_classifier(
    model: Model,
    split: Split,
    recipe: Recipe,
    alignment: Alignment | None,
    folder: Path,
    facts: dict,
    *,
    seed: int = 0,
    workers: int = 0,
    device: str = "cpu",
    precision: str = "float32",
    quiet: bool = False,
) -> Path:
    """Trains model.net and writes `folder/weights.safetensors`, whose header holds the facts and the metrics.

    With an alignment, images lose cells or pixels in training. The epoch with the highest accuracy on intact
    validation images is kept. Call again with the same folder to resume. Returns the path of the weights.
    """
    net = model.net.requires_grad_(True).to(memory_format=torch.channels_last)
    images = TrainingImages(split.train, model.encoding, split.geometry, recipe.augmentation, seed)
    deletion = make_deletion(alignment, model.encoding.zero, seed)
    validation = validation_batches(split.validation, model, recipe.batch_size, workers)
    kind = "aligned" if alignment else "plain"
    path = folder / "weights.safetensors"
    fit(
        net,
        classification_loss(recipe, images, deletion),
        images,
        lambda net: {"accuracy": accuracy(net, validation)},
        recipe,
        folder,
        title=f"training {kind} {model.name} on {split.train.name}",
        seed=seed,
        workers=workers,
        device=device,
        precision=precision,
        quiet=quiet,
        keep=lambda net, trained: save_state(net, path, facts | {"metrics": _kept(trained)}),
    )
    return path


def _kept(trained: Trained) -> dict[str, float]:
    return {k: v for k, v in trained.history[trained.epoch - 1].items() if k != "seconds"}


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
