"""Localisation losses of model guidance, one value per image, and how the values of a batch become one number.

Rao, Böhle, Parchami-Araghi, Schiele, ICCV 2023: Energy, L1, PPCE (Shen et al. 2021) and RRR* (after Ross et al. 2017);
Energy* is Energy for boxes of different sizes. M is the mask, A the map, A+ its positive part. Where a quotient is not
defined, the loss has the value that is written at it and no gradient: there is nothing to move.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from xaibench.errors import XaibenchError
from xaibench.training.processes import process_mean

SPACE = (1, 2)
IMAGES = 64  # the published batch, over which the published losses are summed
OVER = ("annotated", "batch")


def energy(maps: Tensor, masks: Tensor) -> Tensor:
    """-sum(M A+) / sum(A+): the energy pointing game, (N,) in [-1, 0]; 0 for a map without a positive value.

    maps (N, H, W) signed, masks (N, H, W) bool or in [0, 1].
    """
    return -_share(*_checked(maps, masks))


def energy_star(maps: Tensor, masks: Tensor, alpha: float = 0.5) -> Tensor:
    """1 - EPG / pixels^alpha, pixels being those of the mask, at least one: (N,) in [0, 1].

    1 for a map without a positive value, and for an empty mask. maps and masks as for `energy`.
    """
    maps, masks = _checked(maps, masks)
    return 1 - _share(maps, masks) / masks.sum(SPACE).clamp(min=1) ** alpha


def l1(maps: Tensor, masks: Tensor) -> Tensor:
    """The mean over all pixels of abs(M - A+ / max A+), (N,) in [0, 1].

    A map without a positive value counts as zeros: the share of pixels in the mask. maps and masks as for `energy`.
    """
    maps, masks = _checked(maps, masks)
    return (masks - _positive_to_one(maps)).abs().mean(SPACE)


def ppce(maps: Tensor, masks: Tensor, floor: float = 1e-6) -> Tensor:
    """The mean over the mask of -log(A+ / max A+), per-pixel cross entropy with ones, (N,) in [0, -log floor].

    The quotient is not taken below `floor`, so pixels without positive attribution cost -log(floor) and, as in the
    published formula, have no gradient: A+ has none there. -log(floor) for a map without a positive value, 0 for an
    empty mask. maps and masks as for `energy`.
    """
    maps, masks = _checked(maps, masks)
    costs = -_positive_to_one(maps).clamp(min=floor).log()
    return (masks * costs).sum(SPACE) / masks.sum(SPACE).clamp(min=1)


def rrr(maps: Tensor, masks: Tensor) -> Tensor:
    """RRR*, the sum outside of the mask of (A / max abs A)^2: (N,) of at least 0; 0 for a map of zeros.

    maps and masks as for `energy`.
    """
    maps, masks = _checked(maps, masks)
    return ((1 - masks) * _quotient(maps, maps.abs().amax(SPACE, keepdim=True)) ** 2).sum(SPACE)


# Of a batch ----------------------------------------------------------------------------------------------------------


def weighted(values: Tensor, annotated: Tensor, strength: float = 1.0, over: str = "annotated") -> Tensor:
    """strength * 64 * the mean of the values (N,) over the annotated images (N,) bool: a scalar, with a graph always.

    strength is lambda. The published code sums over a batch of 64; where all images are annotated, this is that sum,
    at any batch size and number of devices. Where few are, a step that meets any of them weighs them like all:
    over="batch" takes the mean over the whole batch instead, in which the others count as 0, and is the published sum
    for any share. 0 where no image is annotated.
    """
    if over not in OVER:
        raise XaibenchError(f"over is {' or '.join(OVER)}, not {over!r}")
    if values.shape != annotated.shape or values.ndim != 1:
        raise XaibenchError(f"{tuple(values.shape)} values but {tuple(annotated.shape)} words on annotation; (N,) each")
    annotated = annotated.to(values.device)
    found = process_mean(annotated.sum())
    count = torch.where(found > 0, found, 1) if over == "annotated" else max(len(values), 1)
    return strength * IMAGES * torch.where(annotated, values, 0).sum() / count


def reduction_key_fields(over: str = "annotated") -> dict[str, Any]:
    """What `weighted` does, for the record of a training: lambda means nothing without it."""
    return {"reduction": "mean", "over": over, "times": IMAGES}


def gradient_norm(value: Tensor, parameters: Iterable[Tensor]) -> float:
    """The Euclidean norm of the gradient of a scalar on parameters; the graph of the scalar is kept."""
    found = torch.autograd.grad(value, list(parameters), retain_graph=True, allow_unused=True)
    return math.sqrt(sum(float(gradient.double().square().sum()) for gradient in found if gradient is not None))


def gradient_norm_lambda(reference: float, reference_norm: float, norm: float) -> float:
    """The lambda at which a loss pulls as strongly as another does at lambda `reference`.

    The norms are those of the two losses' gradients at lambda 1, on the same images and weights. Raises XaibenchError
    where one is 0 or not finite, and no lambda is right.
    """
    if not (0 < norm < math.inf and 0 < reference_norm < math.inf):
        raise XaibenchError(
            f"no lambda matches gradients of norm {norm:g} and {reference_norm:g}; give the number itself (--lambda)"
        )
    return reference * reference_norm / norm


# Quotients without 0 / 0 ---------------------------------------------------------------------------------------------


def _checked(maps: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Both (N, H, W) in float32 at least: sums over an image overflow in half precision."""
    if maps.ndim != 3 or maps.shape != masks.shape:
        raise XaibenchError(f"maps {tuple(maps.shape)} and masks {tuple(masks.shape)}; both are (N, H, W)")
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    return maps, masks.to(maps)


def _share(maps: Tensor, masks: Tensor) -> Tensor:
    positive = maps.relu()
    return _quotient((masks * positive).sum(SPACE), positive.sum(SPACE))


def _positive_to_one(maps: Tensor) -> Tensor:
    positive = maps.relu()
    return _quotient(positive, positive.amax(SPACE, keepdim=True))


def _quotient(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole; 0 without a gradient where whole is so small that the gradient would overflow. NaN stays NaN."""
    nothing = whole <= torch.finfo(whole.dtype).tiny ** 0.5
    return torch.where(nothing, 0, part) / torch.where(nothing, 1, whole)
