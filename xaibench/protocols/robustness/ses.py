"""SES, salience equivariance similarity: if the image is moved, does the map move along?

Bartak et al., TMLR 2024, after Pillai et al., CVPR 2022. The order is the same for all methods: the signed map is moved
as the image was, then negative values become 0, then the cosine is taken over the pixels that both show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.protocols.base import TARGETS, Scores, status_of, without_logits
from xaibench.protocols.masks import Localisation, positive_part
from xaibench.protocols.settings import check_between
from xaibench.protocols.transforms import Crop, Flip, Move, Shift, draw_offset, draw_window


def equivariance_similarity(maps: Tensor, others: Tensor, visible: Tensor) -> Tensor:
    """The cosine of the positive parts of two maps: of the moved map with the map of the moved image, in SES.

    Args:
        maps: (P, 1, H, W), any floating dtype.
        others: (P, 1, H, W).
        visible: (P, H, W) bool: the pixels that count.

    Returns:
        (P,) float64 in [0, 1], higher is better; NaN where either map has no positive value in the visible pixels, or
        any value that is not finite.

    Examples:
        >>> import torch
        >>> from xaibench.functional import equivariance_similarity
        >>> maps, visible = torch.tensor([[[[3.0, 4.0, -7.0]]]]), torch.ones(1, 1, 3, dtype=torch.bool)
        >>> equivariance_similarity(maps, torch.tensor([[[[1.0, 0.0, 0.0]]]]), visible).round(decimals=6).tolist()
        [0.6]

    Source: Bartak, Szewczyk, Vlasenko, Shi, Reproducibility Study of "Languange-Image COnsistency", TMLR 2024, after
    Pillai et al., Consistent Explanations by Contrastive Learning, CVPR 2022.
    """
    a, b = ((positive_part(values) * visible).flatten(1) for values in (maps, others))
    a, b = (values / values.amax(1, keepdim=True) for values in (a, b))  # so that squares of tiny values do not vanish
    return ((a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt()).clamp(max=1)


def positive_part_is_constant(maps: Tensor) -> Tensor:
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
    of the three is a further metric. The explained class is that of the original image.
    """

    targets: ClassVar[tuple[str, ...]] = TARGETS
    target: str = "label"
    crop: float = 0.08
    translation: float = 0.25

    def __post_init__(self):
        super().__post_init__()
        check_between("crop", self.crop, 0.01, 1)
        check_between("translation", self.translation, 0.01, 0.5)

    @property
    def description(self) -> str:
        """Such as `label, logit, crops from 0.08, translations to 0.25`."""
        moves = f"crops from {self.crop:g}, translations to {self.translation:g}"
        return f"{self.target}, {self.attribution_output}, {moves}"

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
        """Raises XaibenchError: maps of the moved images are needed."""
        raise XaibenchError("equivariance explains moved images: it needs the method, not maps; use `xaibench.run`")

    def score_method(self, prepared: Moved, maps: Tensor, again: Callable[[Evidence], Tensor]) -> Scores:
        """The mean of three cosines per pair; undefined where one of them is."""
        fill, signed = torch.zeros(1), maps.double()
        shown = torch.ones_like(signed)
        values, also = [], {}
        lost = torch.zeros(len(maps), dtype=torch.bool, device=maps.device)
        for name, move in prepared.moves.items():
            moved_maps = again(prepared.evidence[name]).to(signed)
            without = without_logits(prepared.evidence[name], moved_maps)
            lost |= without
            cosine = equivariance_similarity(move(signed, fill), moved_maps, move(shown, fill)[:, 0] > 0)
            values.append(
                torch.where(
                    positive_part_is_constant(signed) | positive_part_is_constant(moved_maps), torch.nan, cosine
                )
            )
            also[name] = _status(values[-1], without)
        mean = _status(torch.stack(values).mean(0), lost)
        return Scores(mean.values, mean.status, also)


def _status(values: Tensor, lost: Tensor) -> Scores:
    """Scores whose undefined values are the map's fault, but where the moved image has no logits: lost (P,) bool."""
    return status_of(values, values.isnan(), lost)
