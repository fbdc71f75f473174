"""Crops, translations and flips, applied to images and maps alike; how far is drawn per image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from xaibench.seeds import generator

RATIOS = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class Crop:
    """The window (y, x, height, width) of each pair, enlarged to the whole image (bilinear, corners not aligned)."""

    windows: list[tuple[int, int, int, int]]

    def __call__(self, values: Tensor, fill: Tensor) -> Tensor:
        """values (P, C, H, W), cropped and enlarged; fill is not used."""
        size = values.shape[-2:]
        parts = [values[i : i + 1, :, y : y + h, x : x + w] for i, (y, x, h, w) in enumerate(self.windows)]
        return torch.cat([interpolate(part, size, mode="bilinear", align_corners=False) for part in parts])


@dataclass(frozen=True)
class Shift:
    """How far each pair moves down and to the right, in pixels; the pixels that become free are filled."""

    offsets: list[tuple[int, int]]

    def __call__(self, values: Tensor, fill: Tensor) -> Tensor:
        """values (P, C, H, W), moved; fill (C,)."""
        moved = fill[:, None, None].to(values).expand_as(values).clone()
        height, width = values.shape[-2:]
        for i, (down, right) in enumerate(self.offsets):
            to = slice(max(down, 0), height + min(down, 0)), slice(max(right, 0), width + min(right, 0))
            at = slice(max(-down, 0), height + min(-down, 0)), slice(max(-right, 0), width + min(-right, 0))
            moved[i, :, to[0], to[1]] = values[i, :, at[0], at[1]]
        return moved


@dataclass(frozen=True)
class Flip:
    """Left and right are exchanged."""

    def __call__(self, values: Tensor, fill: Tensor) -> Tensor:
        """values (P, C, H, W), flipped; fill is not used."""
        return values.flip(3)


Move = Crop | Shift | Flip


def draw_window(size: tuple[int, int], smallest: float, seed: int, image_id: str) -> tuple[int, int, int, int]:
    """A window (y, x, height, width) for an image, from (seed, image id).

    Its share of the area is uniform from `smallest` to 1, its ratio of width to height log-uniform from 3/4 to 4/3, and
    its place uniform; sides are cut to those of the image (H, W).
    """
    draws = torch.rand(4, generator=generator(seed, "equivariance crop", image_id), dtype=torch.float64).tolist()
    area = (smallest + draws[0] * (1 - smallest)) * size[0] * size[1]
    low, high = (math.log(ratio) for ratio in RATIOS)
    ratio = math.exp(low + draws[1] * (high - low))
    height = min(max(round(math.sqrt(area / ratio)), 1), size[0])
    width = min(max(round(math.sqrt(area * ratio)), 1), size[1])
    return int(draws[2] * (size[0] - height + 1)), int(draws[3] * (size[1] - width + 1)), height, width


def draw_offset(size: tuple[int, int], largest: float, seed: int, image_id: str) -> tuple[int, int]:
    """A move down and right for an image, from (seed, image id): along each axis 1 to `largest` x side pixels."""
    draws = torch.rand(4, generator=generator(seed, "equivariance translation", image_id), dtype=torch.float64).tolist()
    steps = [1 + int(draw * int(largest * side)) for draw, side in zip(draws[:2], size, strict=True)]
    return (steps[0] if draws[2] < 0.5 else -steps[0], steps[1] if draws[3] < 0.5 else -steps[1])
