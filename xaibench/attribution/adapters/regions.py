"""Windows and feature masks of perturbation methods, in shares of the image, so that cards fit any image size."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from xaibench import registry
from xaibench.cards import MethodCard
from xaibench.errors import XaibenchError


def cell_labels(size: tuple[int, int], cells: int) -> Tensor:
    """(H, W) int64: the cell of each pixel, numbered row by row; boundaries at floor(i x side / cells).

    Raises XaibenchError where a cell would have no pixel.
    """
    if not isinstance(cells, int) or not 1 <= cells <= min(size):
        raise XaibenchError(f"cells is the number per side of an image of {size[0]}x{size[1]} pixels, not {cells}")

    def along(side: int) -> Tensor:
        inner = torch.tensor([i * side // cells for i in range(1, cells)], dtype=torch.int64)
        return torch.bucketize(torch.arange(side), inner, right=True)

    return along(size[0])[:, None] * cells + along(size[1])


def window_size(share: float, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width in pixels of a share of each side of an image, at least one pixel.

    >>> window_size(0.1875, (64, 64)), window_size(0.1875, (224, 224))
    ((12, 12), (42, 42))
    """
    if not 0 < share <= 1:
        raise XaibenchError(f"windows and strides are shares of the image's side, above 0 and at most 1, not {share}")
    return tuple(max(1, round(share * side)) for side in size)


def window_labels(window: float, stride: float, size: tuple[int, int]) -> Tensor | None:
    """(H, W) int64: the window that covers each pixel; None where windows overlap and so are not regions."""
    height, width = window_size(window, size)
    if (height, width) != window_size(stride, size):
        return None
    columns = -(-size[1] // width)
    return (torch.arange(size[0]) // height)[:, None] * columns + torch.arange(size[1]) // width


def method_regions(card: MethodCard, parameters: dict[str, Any], size: tuple[int, int]) -> Tensor | None:
    """(H, W) int64: which pixels a method perturbs together; None for methods without such regions.

    Only classes of other packages have regions, through the parameters `cells`, or `window` and `stride`.
    """
    if not ("cells" in parameters or {"window", "stride"} <= set(parameters)):
        return None
    if not inspect.isclass(registry.load(card)):
        return None
    if "cells" in parameters:
        return cell_labels(size, parameters["cells"])
    return window_labels(parameters["window"], parameters["stride"], size)


def same_partition(one: Tensor, other: Tensor) -> bool:
    """Whether two label maps (H, W) cut an image into the same regions, whatever their numbers."""
    if one.shape != other.shape:
        return False
    pairs = torch.stack([one.flatten(), other.flatten()], 1).unique(dim=0)
    return len(pairs) == len(one.unique()) == len(other.unique())
