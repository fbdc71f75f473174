"""What figures of images are made of: networks on their images, and rows of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.resolve import resolve
from xaibench.evaluation.resources import Resources
from xaibench.evaluation.weights import open_models
from xaibench.models.base import Model
from xaibench.printing import say
from xaibench.training.adversarial import Attacked
from xaibench.training.tasks import make_task


@dataclass(frozen=True)
class ImageRow:
    """A row of a sheet: its label, images (N, H, W, 3) uint8, and a caption for each image, "" for none."""

    label: str
    images: np.ndarray
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Network:
    """A network of a sheet on its images: displayed ones (N, H, W, 3) uint8, their ids and labels, and the names of
    classes."""

    model: Model
    images: np.ndarray
    ids: tuple[str, ...]
    labels: tuple[int, ...]
    classes: Sequence[str]
    device: torch.device
    loss: str

    @property
    def inputs(self) -> Tensor:
        """Encoded images (N, C, H, W) on the network's device."""
        return self.model.encoding(self.images).to(self.device)


def open_network(config: RunConfig, quiet: bool) -> Network:
    """The network of a run, with the images that the run would take."""
    found, resources = resolve(config), Resources.of(config)
    model = open_models(found, resources, quiet, (lambda line: None) if quiet else say).model
    device = torch.device(resources.device)
    model.net.to(device)
    ids = tuple(found.dataset.image_list(found.images))
    samples = [found.dataset.load(image_id) for image_id in ids]
    images, labels = np.stack([one.image for one in samples]), tuple(one.label for one in samples)
    loss = "cross-entropy" if model.probability == "softmax" else "binary-cross-entropy"
    return Network(model, images, ids, labels, found.dataset.classes, device, loss)


def attacked(one: Network, labels: Tensor, **attack: object) -> Tensor:
    """The first inputs, as many as labels (n,), after projected gradient descent that raises the loss of the labels.

    attack: options of `xaibench train adversarial`. Raises XaibenchError for options that it does not have.
    """
    task, count = make_task("adversarial", attack), len(labels)
    move = Attacked(task, one.model.net, one.model.encoding, one.loss, 0)
    return move(one.inputs[:count], labels, one.ids[:count], 0)


def displayed(pixels: Tensor) -> np.ndarray:
    """Images (N, H, W, 3) uint8 of pixels (N, 1 or 3, H, W) in [0, 1]."""
    shown = (pixels.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return np.repeat(shown, 3, axis=3) if shown.shape[3] == 1 else shown
