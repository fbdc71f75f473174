"""Cells of a square grid over an image: their pixels, their sums, and what replaces a deleted one.

Used by the protocols that delete cells and by the training on images with deleted cells, so both do the same.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from xaibench.errors import XaibenchError
from xaibench.seeds import generator, uniform
from xaibench.surroundings import without_modes

BASELINES = ("zero", "random", "blur")
BLUR_KERNEL, BLUR_SIGMA, BLUR_SIZE = 51, 41 * math.sqrt(2), 224  # the published blur: 51 taps, 41 acts as 41 sqrt(2)


def check_grid(size: tuple[int, int], grid: int) -> None:
    """Raises XaibenchError unless images of size (H, W) divide into grid x grid equal cells."""
    if grid < 1 or any(side % grid for side in size):
        raise XaibenchError(f"images of {size[0]}x{size[1]} pixels do not divide into {grid}x{grid} equal cells")


def cell_sums(maps: Tensor, grid: int) -> Tensor:
    """The sum of a map in each cell of a grid.

    In float64 the sum of float32 values hardly rounds, so equal cells tie exactly, whatever the order of addition.

    Args:
        maps: (P, 1, H, W), any real dtype; H and W are multiples of grid.
        grid: cells a side.

    Returns:
        (P, grid²) float64, cells row by row.

    Raises:
        XaibenchError: maps do not divide into the grid's cells.

    Examples:
        >>> import torch
        >>> from xaibench.functional import cell_sums
        >>> cell_sums(torch.arange(16.0).view(1, 1, 4, 4), grid=2).tolist()
        [[10.0, 18.0, 42.0, 50.0]]
    """
    check_grid(tuple(maps.shape[-2:]), grid)
    return maps[:, 0].double().unflatten(1, (grid, -1)).unflatten(3, (grid, -1)).sum((2, 4)).flatten(1)


def cell_masks(size: tuple[int, int], grid: int, cells: Tensor) -> Tensor:
    """Cells of a grid as masks.

    Args:
        size: (H, W) of the image.
        grid: cells a side.
        cells: (n,) int64, cells counted row by row from 0.

    Returns:
        (n, 1, H, W) bool: true inside cell number cells[n].

    Examples:
        >>> import torch
        >>> from xaibench.functional import cell_masks
        >>> cell_masks((2, 4), grid=2, cells=torch.tensor([1]))[0, 0].int().tolist()
        [[0, 0, 1, 1], [0, 0, 0, 0]]
    """
    rows = torch.arange(size[0], device=cells.device) * grid // size[0]
    columns = torch.arange(size[1], device=cells.device) * grid // size[1]
    return (rows[:, None] * grid + columns == cells[:, None, None])[:, None]


def spread(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps whose sum in each cell is a given value, the same in each pixel of the cell.

    Args:
        values: (P, grid²) floating, cells row by row.
        size: (H, W), multiples of grid.

    Returns:
        (P, 1, H, W) of the dtype of values. `cell_sums` gives the values back.

    Examples:
        >>> import torch
        >>> from xaibench.functional import spread
        >>> spread(torch.tensor([[2.0, 4.0, 0.0, 0.0]]), size=(2, 4)).tolist()
        [[[[1.0, 1.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0]]]]
    """
    grid = math.isqrt(values.shape[1])
    share = values.unflatten(1, (grid, grid))[:, None] * (grid**2 / (size[0] * size[1]))
    return share.repeat_interleave(size[0] // grid, 2).repeat_interleave(size[1] // grid, 3)


def replacement(
    name: str, images: Tensor, cells: Tensor, seed: int, ids: list[str], zero: Tensor, purpose: str = "deleted cell"
) -> Tensor:
    """What replaces deleted pixels, (n, C, H, W) or broadcastable, in images (n, C, H, W).

    zero: the zero baseline (C,) of the encoded space. random: U(-1, 1) per image and cell, from (seed, purpose, image
    id, cell). blur: the blurred image. Raises XaibenchError for another name.
    """
    if name == "zero":
        return zero[:, None, None].to(images)
    if name == "blur":
        return blur(images)
    if name == "random":
        shape, pairs = images.shape[1:], zip(ids, cells.tolist(), strict=True)
        drawn = [uniform(generator(seed, purpose, image_id, cell), *shape) for image_id, cell in pairs]
        return (torch.stack(drawn) * 2 - 1).to(images)
    raise XaibenchError(f"unknown baseline {name!r} for deleted cells; it is {', '.join(BASELINES)}")


def blur(images: Tensor) -> Tensor:
    """Gaussian blur (n, C, H, W) as published for IDSDS: at 224 pixels 51 taps of standard deviation 58, zero-padded.

    Other sizes scale both with the image's longer side.
    """
    return gaussian_blur(images, BLUR_KERNEL, BLUR_SIGMA)


@without_modes()
def gaussian_blur(images: Tensor, kernel: int, sigma: float) -> Tensor:
    """Images blurred by a Gaussian whose size scales with the image's longer side; zero-padded.

    Args:
        images: (n, C, H, W) floating.
        kernel: taps a side at 224 pixels; there are at least three taps at any size.
        sigma: standard deviation in pixels at 224 pixels.

    Returns:
        (n, C, H, W) of the dtype of images.

    Examples:
        >>> import torch
        >>> from xaibench.functional import gaussian_blur
        >>> gaussian_blur(torch.tensor([[[[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]]), 11, 5.0).sum() <= 1
        tensor(True)
    """
    radius, sigma = _at_size(images, kernel, sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    taps = torch.exp(-(offsets**2) / (2 * sigma**2))
    return _separable(images, taps / taps.sum())


@without_modes()
def folded_blur(images: Tensor, kernel: int, sigma: float) -> Tensor:
    """Images blurred by a Gaussian whose mass beyond the kernel is mirrored back into it; zero-padded.

    The kernel is what SciPy's `gaussian_filter` makes of a single 1 in the middle of kernel x kernel zeros, as the
    published code of RISE has it (11 and 5), so it is much flatter than a Gaussian that is cut off, and sums to 1.

    Args:
        images: (n, C, H, W) floating.
        kernel: taps a side at 224 pixels; they and sigma scale as those of `gaussian_blur`.
        sigma: standard deviation in pixels at 224 pixels.

    Returns:
        (n, C, H, W) of the dtype of images.

    Examples:
        >>> import torch
        >>> from xaibench.functional import folded_blur
        >>> image = torch.zeros(1, 1, 224, 224)
        >>> image[0, 0, 112, 112] = 1
        >>> [round(float(value), 4) for value in folded_blur(image, 11, 5.0)[0, 0, 112, [106, 107, 112]]]
        [0.0, 0.0083, 0.0088]
    """
    radius, sigma = _at_size(images, kernel, sigma)
    reach, length = int(4 * sigma + 0.5), 2 * radius + 1  # SciPy cuts a Gaussian at four standard deviations
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    mass = torch.exp(-(offsets**2) / (2 * sigma**2))
    place = (offsets.long() + radius) % (2 * length)
    taps = torch.zeros(length, dtype=torch.float64)
    return _separable(images, taps.index_add(0, torch.minimum(place, 2 * length - 1 - place), mass / mass.sum()))


def _at_size(images: Tensor, kernel: int, sigma: float) -> tuple[int, float]:
    """Radius and standard deviation in pixels of images (n, C, H, W), for those at 224 pixels."""
    scale = max(images.shape[-2:]) / BLUR_SIZE
    return max(1, round((kernel - 1) / 2 * scale)), sigma * scale


def _separable(images: Tensor, taps: Tensor) -> Tensor:
    """Images (n, C, H, W) convolved with taps (2 radius + 1,) along rows and columns, zero-padded."""
    taps, radius = taps.to(images), len(taps) // 2
    flat = images.flatten(0, 1)[:, None]
    rows = torch.nn.functional.conv2d(flat, taps[None, None, :, None], padding=(radius, 0))
    return torch.nn.functional.conv2d(rows, taps[None, None, None], padding=(0, radius)).view_as(images)
