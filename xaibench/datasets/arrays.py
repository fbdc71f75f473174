"""Data sets that are published as arrays of small images rather than as files of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from xaibench.cards import Geometry
from xaibench.datasets.base import Dataset, Sample
from xaibench.datasets.placement import Placement
from xaibench.datasets.reading import in_split
from xaibench.errors import XaibenchError
from xaibench.hashing import content_hash


class Arrays(Dataset):
    """Images of an array, displayed according to the geometry.

    A subclass provides pixels (N, height, width) uint8, grey, or (N, height, width, 3), with labels (N,) below the
    number of its classes. Ids are `test/000123` and `train/000123`, the number in the published array; one in ten
    training images is for validation (split `val`). Raises XaibenchError where pixels and labels differ in number.
    """

    on_disk = True  # displayed images may be much larger than the arrays, so they are not all kept in memory

    def __init__(self, pixels: np.ndarray, labels: Sequence[int], geometry: Geometry, split: str):
        if len(pixels) != len(labels):
            raise XaibenchError(f"{self.name}: {len(pixels)} images but {len(labels)} labels; fetch its files again")
        self._pixels, self._all_labels, self.geometry = pixels, labels, geometry
        part = "test" if split == "test" else "train"
        every = {f"{part}/{number:06d}": number for number in range(len(pixels))}
        self._index = {i: number for i, number in every.items() if split == "test" or in_split(i, split)}
        self.ids = list(self._index)
        if not self.ids:
            raise XaibenchError(f"{self.name}: split {split} has no image")
        strange = {int(label) for label in labels} - set(range(len(self.classes)))
        if strange:
            raise XaibenchError(f"{self.name}: label {min(strange)} is none of its {len(self.classes)} classes")

    def load(self, image_id: str) -> Sample:
        """The displayed image (crop, crop, 3) uint8; grey is repeated."""
        image = self.placement(image_id).image(self.open(image_id))
        return Sample(image_id, image, self.label(image_id), self.digest(image_id))

    def open(self, image_id: str) -> Image.Image:
        """The image as it is in the array, for training that crops at random."""
        return Image.fromarray(self.pixels(image_id)).convert("RGB")

    def label(self, image_id: str) -> int:
        """The class of an image."""
        return int(self._all_labels[self._number(image_id)])

    def digest(self, image_id: str) -> str:
        """The hash of the pixels in the array."""
        return content_hash(np.ascontiguousarray(self.pixels(image_id)).tobytes())

    def pixels(self, image_id: str) -> np.ndarray:
        """The image in the array, (height, width) or (height, width, 3) uint8."""
        return self._pixels[self._number(image_id)]

    def placement(self, image_id: str) -> Placement:
        """Where the array's pixels are in the displayed image."""
        height, width = self.pixels(image_id).shape[:2]
        return Placement(width, height, self.geometry)

    def _number(self, image_id: str) -> int:
        if image_id not in self._index:
            raise XaibenchError(f"{self.name}: no image {image_id!r}; ids go from {self.ids[0]} to {self.ids[-1]}")
        return self._index[image_id]
