"""Attacks: maps that do not look at the network. How much of a protocol's scale can they have?

Some are fixed: ones, a bump in the middle, edges, random values, contrast of colours. One is searched: the best weights
of a small basis of such maps, found by the protocol's own scores on some images and judged on others (as Tomsett et al.
2020 and Rong et al. 2022 ask what protocols reward besides the model).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from xaibench.attribution.controls import centre_prior, constant_map, edges, random_map
from xaibench.attribution.evidence import Evidence
from xaibench.seeds import generator, normal

FREQUENCIES = 3  # cosines along each axis
PROPOSALS, ROUNDS, STEP = 8, 3, 0.5
SEARCHED = "searched"


def contrast(e: Evidence) -> Tensor:
    """(P, 1, H, W): the distance of a pixel's colour from the image's mean colour, blurred over 3 x 3 pixels."""
    centred = e.inputs - e.inputs.mean((2, 3), keepdim=True)
    distance = centred.norm(dim=1, keepdim=True)
    return torch.nn.functional.avg_pool2d(distance, 3, 1, 1, count_include_pad=False)


FIXED: Mapping[str, Callable[[Evidence], Tensor]] = {
    "ones": constant_map,
    "centre": centre_prior,
    "edges": edges,
    "contrast": contrast,
    "random": random_map,
}
"""The fixed attacks by name, functions of evidence that read its images alone; `random` is the chance level."""


def basis(e: Evidence) -> Tensor:
    """(B, P, 1, H, W): what the searched attack adds up, each map with mean 0 and standard deviation 1.

    Cosines of low frequencies, the same for all images, the middle, and edges and contrast of each image.
    """
    height, width = e.images.shape[2:]
    y, x = ((torch.arange(side) + 0.5) / side * math.pi for side in (height, width))
    waves = [
        torch.outer(torch.cos(a * y), torch.cos(b * x)).to(e.images).expand(len(e.targets), 1, height, width)
        for a in range(FREQUENCIES)
        for b in range(FREQUENCIES)
        if a + b
    ]
    maps = torch.stack([*waves, centre_prior(e), edges(e), contrast(e)])
    maps = maps - maps.mean((3, 4), keepdim=True)
    return maps / maps.flatten(3).std(3, keepdim=True)[..., None].clamp(min=1e-6)


def combined(weights: Tensor, maps: Tensor) -> Tensor:
    """The weighted sum (P, 1, H, W) of a basis (B, P, 1, H, W), shifted to a least value of 0 in each image: protocols
    that clip negative values see all of it."""
    summed = torch.einsum("b,bpchw->pchw", weights.to(maps), maps)
    return summed - summed.amin((2, 3), keepdim=True)


def search(quality: Callable[[Tensor], float], count: int, seed: int, purpose: str) -> Tensor:
    """Weights (count,) of a basis with a high mean quality, by trying each map and its negative, then changes.

    quality: from weights to the mean quality on the images that the search may see; NaN counts as the worst. Takes
    2 count + ROUNDS * PROPOSALS of its calls.
    """
    dice = generator(seed, "searched attack", purpose)
    signs = torch.cat([torch.eye(count), -torch.eye(count)])
    best, weights = -math.inf, signs[0]
    for proposal in signs:
        best, weights = max((best, weights), (_value(quality, proposal), proposal), key=lambda pair: pair[0])
    for number in range(ROUNDS):
        for _ in range(PROPOSALS):
            proposal = weights + STEP / (number + 1) * normal(dice, count)
            best, weights = max((best, weights), (_value(quality, proposal), proposal), key=lambda pair: pair[0])
    return weights


def _value(quality: Callable[[Tensor], float], weights: Tensor) -> float:
    value = quality(weights)
    return value if math.isfinite(value) else -math.inf


def attack_gap(true: float, attack: float, chance: float) -> float:
    """How far an attack stays behind the true map, as a share of the way from a random map to the true one.

    (true - attack) / (true - chance): 1 for an attack that is worth no more than a random map, 0 for one that is worth
    as much as the true map, below 0 for one that is worth more. NaN where the true map is worth no more than a random
    one, so that there is no way.
    """
    way = true - chance
    if not np.isfinite(way) or way <= 1e-9 * max(1.0, abs(true), abs(chance)):
        return math.nan
    return (true - attack) / way
