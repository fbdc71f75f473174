"""From raw attributions to attribution maps."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

from xaibench.errors import XaibenchError


def to_map(attributions: Tensor, size: tuple[int, int], transform: str = "raw", resize: str = "bilinear") -> Tensor:
    """Attribution maps (P, 1, H, W) from raw attributions (P, C, h, w).

    The signed channel sum comes first, the absolute value (transform="abs") second, resizing (bilinear with corners not
    aligned, or nearest) to size (H, W) last. Maps stay signed and unnormalised.
    """
    summed = attributions.sum(1, keepdim=True)
    if transform == "abs":
        summed = summed.abs()
    if summed.shape[-2:] == size:
        return summed
    return interpolate(summed, size, mode=resize, **({} if resize == "nearest" else {"align_corners": False}))


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
