"""Training images: samples of a data set, augmented from (seed, purpose, image id, epoch) and encoded."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from xaibench.cards import Geometry
from xaibench.datasets.base import Dataset
from xaibench.datasets.loading import load_sample
from xaibench.models.base import Encoding
from xaibench.seeds import derive

Item = tuple[Tensor, int | Tensor, str]


class TrainingImages(TorchDataset):
    """Encoded, augmented images (C, H, W) with label and image id; `epoch` chooses the augmentation.

    augmentation `none` takes images as they are displayed; `flip` mirrors half of them; `crop-flip` also takes a random
    crop of 8 to 100 % of the area, resized to geometry.crop. labels: `single` gives the class index of an image,
    `several` its classes as multi-hot float32 (K,). Displayed images of data sets that are drawn, not read, are kept
    after the first epoch.
    """

    def __init__(
        self,
        dataset: Dataset,
        encoding: Encoding,
        geometry: Geometry,
        augmentation: str,
        seed: int,
        labels: str = "single",
    ):
        self.dataset, self.encoding, self.geometry = dataset, encoding, geometry
        self.augmentation, self.seed, self.epoch = augmentation, seed, 0
        self.labels = labels
        self._drawn: dict[str, tuple[np.ndarray, int]] | None = None if dataset.on_disk else {}

    def __len__(self) -> int:
        return len(self.dataset.ids)

    def __getitem__(self, index: int) -> Item:
        image_id = self.dataset.ids[index]
        image, label = self._cropped(image_id) if self.augmentation == "crop-flip" else self._displayed(image_id)
        if self.augmentation != "none" and derive(self.seed, "flip", image_id, self.epoch) % 2:
            image = image[:, ::-1]
        target = multi_hot(self.dataset, image_id) if self.labels == "several" else label
        return self.encoding(np.ascontiguousarray(image)[None])[0], target, image_id

    def _displayed(self, image_id: str) -> tuple[np.ndarray, int]:
        if self._drawn is not None and image_id in self._drawn:
            return self._drawn[image_id]
        sample = load_sample(self.dataset, image_id)
        if self._drawn is not None:
            self._drawn[image_id] = sample.image, sample.label
        return sample.image, sample.label

    def _cropped(self, image_id: str) -> tuple[np.ndarray, int]:
        from PIL import Image
        from torchvision.transforms import RandomResizedCrop
        from torchvision.transforms import functional as F

        if self._drawn is None:
            image, label = self.dataset.open(image_id), self.dataset.label(image_id)
        else:
            pixels, label = self._displayed(image_id)
            image = Image.fromarray(pixels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.seed, "crop", image_id, self.epoch))
            box = RandomResizedCrop.get_params(image, scale=[0.08, 1.0], ratio=[3 / 4, 4 / 3])
        size = [self.geometry.crop, self.geometry.crop]
        return np.asarray(F.resized_crop(image, *box, size)), label


class RepeatedImages(TrainingImages):
    """Training images that are passed over `passes` times an epoch, each time with an augmentation of its own."""

    def __init__(self, *arguments: Any, passes: int, **named: Any):
        super().__init__(*arguments, **named)
        self.passes = passes

    def __len__(self) -> int:
        return self.passes * super().__len__()

    def __getitem__(self, index: int) -> Item:
        turn, index = divmod(index, super().__len__())
        epoch = self.epoch
        self.epoch = self.passes * epoch + turn
        try:
            return super().__getitem__(index)
        finally:
            self.epoch = epoch


def multi_hot(dataset: Dataset, image_id: str) -> Tensor:
    """All classes of an image as float32 (K,) of 0 and 1."""
    target = torch.zeros(len(dataset.classes))
    target[list(dataset.labels(image_id))] = 1
    return target


def class_counts(dataset: Dataset) -> Tensor:
    """The number of images of each class, by their single labels, as float32 (K,)."""
    labels = torch.tensor([dataset.label(image_id) for image_id in dataset.ids])
    return torch.bincount(labels, minlength=len(dataset.classes)).float()
