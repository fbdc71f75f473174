"""From raw attributions to attribution maps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from xaibench.errors import XaibenchError

SPARE = 13  # binary digits of 53 that a resized float64 map gives up: far more than the rounding of its sums takes


def to_map(attributions: Tensor, size: tuple[int, int], transform: str = "raw", resize: str = "bilinear") -> Tensor:
    """Attribution maps (P, 1, H, W) from raw attributions (P, C, h, w).

    The signed channel sum comes first, the absolute value (transform="abs") second, resizing (`bilinear`, or nearest)
    to size (H, W) last. Maps stay signed and unnormalised.
    """
    summed = attributions.sum(1, keepdim=True)
    if transform == "abs":
        summed = summed.abs()
    if summed.shape[-2:] == size:
        return summed
    return interpolate(summed, size, mode=resize) if resize == "nearest" else bilinear(summed, size)


def bilinear(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps resized bilinearly, corners not aligned, so that pixels whose values are equal by the formula are equal.

    Enlarging a coarse map repeats values: along its border, between equal cells, at mirrored places beside zeros. Were
    each of them rounded in its own way, rounding would put these pixels in an order, and another one at each batch
    size, number of threads and processor. So weights are whole numbers, with which sums of float32 values are exact in
    float64 as long as their sizes are alike, and the result is rounded once: to the dtype of the maps, of float64 to 40
    binary digits. (With weights that are rounded, as in torch, values half way between two float32 numbers go either
    way.)

    Args:
        maps: (P, 1, h, w), any floating dtype.
        size: (H, W).

    Returns:
        (P, 1, H, W) of the dtype of maps.
    """
    exact = _stretched(_stretched(maps.double(), 2, size[0]), 3, size[1]) / (4 * size[0] * size[1])
    if maps.dtype != torch.float64:
        return exact.to(maps.dtype)
    high = exact * (2**SPARE + 1)  # Dekker's splitting: the sum drops the last digits, to the nearest
    return high - (high - exact)


def _stretched(values: Tensor, dim: int, length: int) -> Tensor:
    """2 x length times the linear interpolation of one dimension to a length."""
    cells, unit = values.shape[dim], 2 * length  # positions count from the first cell's centre, in cells / unit
    place = (2 * torch.arange(length, device=values.device) + 1) * cells - length
    place = place.clamp(0, unit * (cells - 1))  # beyond the outermost centres nothing changes
    near, share = place // unit, (place % unit).view(-1, *[1] * (values.ndim - 1 - dim))
    far = (near + 1).clamp(max=cells - 1)
    return values.index_select(dim, near) * (unit - share) + values.index_select(dim, far) * share


def validate_attributions(attributions: object, pairs: int, method: str) -> Tensor:
    """The output of a method, if it is a floating tensor (pairs, C, h, w); else raises XaibenchError that describes
    it."""
    if not isinstance(attributions, Tensor):
        raise XaibenchError(f"method {method} returned {type(attributions).__name__}, not a tensor (pairs, C, h, w)")
    if attributions.ndim != 4 or len(attributions) != pairs or 0 in attributions.shape:
        shape = tuple(attributions.shape)
        raise XaibenchError(f"method {method} returned shape {shape}, not (pairs, C, h, w) for {pairs} pairs")
    if not attributions.is_floating_point():
        raise XaibenchError(f"method {method} returned {attributions.dtype}, not floating point attributions")
    return attributions.detach()
