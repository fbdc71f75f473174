"""Where a photo's pixels are in the displayed image: one resize and crop for images, masks and boxes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
from PIL import Image

from xaibench.cards import Geometry

FARTHEST = 10**9  # pixels; no photo is larger, and sums of such positions stay whole numbers


def is_position(value: Any) -> bool:
    """Whether a value of somebody's annotations can be a position in a photo, in pixels: a number within FARTHEST."""
    return isinstance(value, Real) and abs(value) <= FARTHEST


@dataclass(frozen=True)
class Placement:
    """The transformation of a photo of (width, height) pixels, and of its masks and boxes, by a geometry.

    `fit = "crop"` resizes the shorter side to geometry.resize and cuts the central square of geometry.crop, `stretch`
    resizes to that square and does not keep the aspect. Sizes and offsets are those of torchvision's `resize` and
    `center_crop`.
    """

    width: int
    height: int
    geometry: Geometry

    @cached_property
    def resized(self) -> tuple[int, int]:
        """(width, height) after the resize."""
        if self.geometry.fit == "stretch":
            return self.geometry.crop, self.geometry.crop
        side, shorter = self.geometry.resize, min(self.width, self.height)
        width, height = (side if n == shorter else int(side * n / shorter) for n in (self.width, self.height))
        return width, height

    @cached_property
    def origin(self) -> tuple[int, int]:
        """(x, y) of the displayed square in the resized photo; negative where that is smaller and padded by zeros."""
        crop = self.geometry.crop
        x, y = (round((n - crop) / 2) if n >= crop else -((crop - n) // 2) for n in self.resized)
        return x, y

    def image(self, image: Image.Image) -> np.ndarray:
        """The displayed photo, bilinear: uint8 (crop, crop, 3)."""
        return self._cut(image, Image.Resampling.BILINEAR)

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """A mask or labels of pixels (height, width) as displayed, by the nearest neighbour: (crop, crop) of its dtype.

        Of bool, uint8, uint16 or int32; what lies outside of the photo is 0.
        """
        stored = {"bool": np.uint8, "uint16": np.int32}.get(mask.dtype.name, mask.dtype)
        return self._cut(Image.fromarray(mask.astype(stored)), Image.Resampling.NEAREST).astype(mask.dtype)

    def masks(self, masks: np.ndarray) -> np.ndarray:
        """Masks (N, height, width) as displayed, (N, crop, crop)."""
        shape = (len(masks), self.geometry.crop, self.geometry.crop)
        return np.stack([self.mask(mask) for mask in masks]) if len(masks) else np.zeros(shape, dtype=masks.dtype)

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) as displayed, int64: x0 y0 x1 y1 in pixels of the photo, x1 and y1 exclusive, fractions allowed.

        Edges go to the nearest edge of a pixel; a box that would vanish by that keeps the pixels that its corner lies
        in. What lies outside of the square is cut off, so a box may end with no pixel.
        """
        scale = np.array(self.resized) / (self.width, self.height)
        edges = np.asarray(boxes, dtype=np.float64).reshape(-1, 2, 2) * scale - self.origin
        low, high = np.floor(edges + 0.5).astype(np.int64).swapaxes(0, 1)
        thin = (high <= low) & (edges[:, 1] > edges[:, 0])
        low = np.where(thin, np.floor(edges[:, 0]).astype(np.int64), low)
        high = np.where(thin, low + 1, high)
        return np.concatenate([low, high], 1).clip(0, self.geometry.crop)

    def _cut(self, image: Image.Image, how: Image.Resampling) -> np.ndarray:
        from torchvision.transforms import functional as F

        crop = self.geometry.crop
        resized = image if image.size == self.resized else image.resize(self.resized, how)
        return np.array(F.center_crop(resized, [crop, crop]))
