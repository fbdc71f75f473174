"""Training images with what guides them: the mask of one of the image's classes, augmented as the image is."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xaibench.cards import Geometry
from xaibench.datasets.base import Dataset
from xaibench.models.base import Encoding
from xaibench.seeds import derive
from xaibench.training.data import TrainingImages
from xaibench.training.guidance.targets import Annotations, sample_label


class GuidedImages(TrainingImages):
    """Items (image (C, H, W), label, image id, mask (H, W) bool, class of the mask, whether the image guides).

    The class is drawn from (seed, image id, epoch) among all that a recipe with several labels learns, else it is the
    label. An image without an annotation, or whose mask was cropped away, does not guide: its mask is empty. The random
    crops of `crop-flip` are of the displayed image, in which masks are known, not of the photo.
    """

    def __init__(
        self, dataset: Dataset, encoding: Encoding, geometry: Geometry, augmentation: str, seed: int, labels: str,
        annotations: Annotations,
    ):  # fmt: skip
        super().__init__(dataset, encoding, geometry, augmentation, seed, labels)
        annotations.check(dataset)
        self.annotations, self.annotated = annotations, annotations.annotated(dataset.ids)
        self._masks: dict[tuple[str, int], np.ndarray | None] | None = None if dataset.on_disk else {}

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor, str, Tensor, int, bool]:
        image, label, image_id = super().__getitem__(index)
        several = self.labels == "several"
        target = sample_label(self.dataset.labels(image_id), self.seed, image_id, self.epoch) if several else label
        mask = self._mask(image_id, target) if image_id in self.annotated else None
        if mask is None:
            return image, label, image_id, torch.zeros(image.shape[1:], dtype=torch.bool), target, False
        placed = torch.from_numpy(self._placed(mask, image_id))
        return image, label, image_id, placed, target, bool(placed.any())

    def _mask(self, image_id: str, target: int) -> np.ndarray | None:
        """Where the class is in the displayed image, kept for data sets that are drawn."""
        if self._masks is None:
            return self.annotations.mask(self.dataset, image_id, target)
        if (image_id, target) not in self._masks:
            self._masks[image_id, target] = self.annotations.mask(self.dataset, image_id, target)
        return self._masks[image_id, target]

    def _placed(self, mask: np.ndarray, image_id: str) -> np.ndarray:
        """The mask of the displayed image, cropped and flipped as the image of this epoch is."""
        if self.augmentation == "crop-flip":
            mask = self._cut(mask.astype(np.uint8) * 255, image_id, Image.Resampling.NEAREST) > 127
        if self.augmentation != "none" and derive(self.seed, "flip", image_id, self.epoch) % 2:
            mask = mask[:, ::-1]
        return np.ascontiguousarray(mask)

    def _cropped(self, image_id: str) -> tuple[np.ndarray, int]:
        image, label = self._displayed(image_id)
        return self._cut(image, image_id, Image.Resampling.BILINEAR), label

    def _cut(self, pixels: np.ndarray, image_id: str, how: Image.Resampling) -> np.ndarray:
        """The random crop of an epoch from displayed pixels (H, W, 3) or (H, W) uint8, resized to geometry.crop."""
        from torchvision.transforms import RandomResizedCrop

        image = Image.fromarray(pixels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.seed, "crop", image_id, self.epoch))
            top, left, height, width = RandomResizedCrop.get_params(image, scale=[0.08, 1.0], ratio=[3 / 4, 4 / 3])
        size = (self.geometry.crop, self.geometry.crop)
        return np.asarray(image.crop((left, top, left + width, top + height)).resize(size, how))
