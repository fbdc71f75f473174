"""SES: does the map move with the image? Bartak et al., TMLR 2024, after Pillai et al., CVPR 2022.

In one order for all methods: the signed map is moved as the image was, then negative values become 0, then the cosine
is taken over the pixels that both show.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.protocols.base import TARGETS, Scores, status_of
from xaibench.protocols.masks import Localisation, between, positive_part
from xaibench.seeds import generator

RATIOS = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class Crop:
    """The window (y, x, height, width) of each pair, enlarged to the whole image (bilinear, corners not aligned)."""

    windows: list[tuple[int, int, int, int]]

    def __call__(self, values: Tensor, fill: Tensor) -> Tensor:
        """values (P, C, H, W), moved."""
        size = values.shape[-2:]
        cut = [values[i : i + 1, :, y : y + h, x : x + w] for i, (y, x, h, w) in enumerate(self.windows)]
        return torch.cat([interpolate(part, size, mode="bilinear", align_corners=False) for part in cut])


@dataclass(frozen=True)
class Shift:
    """How far each pair moves down and to the right, in pixels; what comes in is filled."""

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
    """Left becomes right."""

    def __call__(self, values: Tensor, fill: Tensor) -> Tensor:
        """values (P, C, H, W), moved."""
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


def similarity(ours: Tensor, theirs: Tensor, visible: Tensor) -> Tensor:
    """Cosine (P,) float64 in [0, 1], higher is better, of the positive parts of two maps (P, 1, H, W).

    visible (P, H, W) bool: the pixels that count. NaN where one of them has no positive value there, or is not finite.
    """
    a, b = ((positive_part(maps) * visible).flatten(1) for maps in (ours, theirs))
    a, b = (values / values.amax(1, keepdim=True) for values in (a, b))  # so that squares of tiny values do not vanish
    return ((a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt()).clamp(max=1)


def says_nothing(maps: Tensor) -> Tensor:
    """(P,) bool: true where the positive part of maps (P, 1, H, W) is constant or not finite."""
    positive = positive_part(maps).flatten(1)
    return positive.isnan().any(1) | (positive == positive[:, :1]).all(1)


@dataclass(frozen=True)
class Moved:
    """The moves by name, and the evidence about the moved images, which all methods share."""

    moves: dict[str, Move]
    evidence: dict[str, Evidence]


@dataclass(frozen=True)
class Equivariance(Localisation):
    """Cosine of the map of a moved image with the moved map: the mean of crop, translation and flip.

    Settings: target (label, prediction, labels, predictions) and whether its logit or its probability is explained;
    crop, the smallest share of the area that a crop keeps; translation, the largest move as a share of the side. Each
    of the three is a further metric. The class that is explained is that of the image as it was.
    """

    targets: ClassVar[tuple[str, ...]] = TARGETS
    target: str = "label"
    crop: float = 0.08
    translation: float = 0.25

    def __post_init__(self):
        super().__post_init__()
        between("crop", self.crop, 0.01, 1)
        between("translation", self.translation, 0.01, 0.5)

    @property
    def description(self) -> str:
        """Such as `label, logit, crops from 0.08, translations to 0.25`."""
        words = f"{self.target}, {self.attribution_output}"
        return f"{words}, crops from {self.crop:g}, translations to {self.translation:g}"

    def check(self, size: tuple[int, int]) -> None:
        """Raises XaibenchError where the largest translation is less than a pixel."""
        if min(size) * self.translation < 1:
            raise XaibenchError(f"translation {self.translation:g} of {min(size)} pixels moves nothing")

    def prepare(self, e: Evidence) -> Moved:
        """The moved images, each move the same for all methods and for all pairs of an image."""
        size, ids = tuple(e.images.shape[-2:]), e.pair_ids
        moves: dict[str, Move] = {
            "crop": Crop([draw_window(size, self.crop, e.seed, i) for i in ids]),
            "translation": Shift([draw_offset(size, self.translation, e.seed, i) for i in ids]),
            "flip": Flip(),
        }
        return Moved(moves, {name: e.at(move(e.inputs, e.zero)) for name, move in moves.items()})

    def score(self, prepared: Moved, maps: Tensor) -> Scores:
        """Raises XaibenchError: maps alone do not say what the method makes of a moved image."""
        raise XaibenchError("equivariance explains moved images, so it judges methods, not maps; use `xaibench.run`")

    def score_method(self, prepared: Moved, maps: Tensor, again: Callable[[Evidence], Tensor]) -> Scores:
        """The mean of three cosines per pair; undefined where one of them is."""
        nothing, signed = torch.zeros(1), maps.double()
        shown = torch.ones_like(signed)
        values, also = [], {}
        for name, move in prepared.moves.items():
            theirs = again(prepared.evidence[name]).to(signed)
            cosine = similarity(move(signed, nothing), theirs, move(shown, nothing)[:, 0] > 0)
            values.append(torch.where(says_nothing(signed) | says_nothing(theirs), torch.nan, cosine))
            also[name] = _status(values[-1])
        mean = _status(torch.stack(values).mean(0))
        return Scores(mean.values, mean.status, also)


def _status(values: Tensor) -> Scores:
    """Scores whose undefined values are the map's fault: there is nothing else to be undefined."""
    return status_of(values, values.isnan(), torch.zeros_like(values, dtype=torch.bool))
