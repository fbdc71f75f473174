"""What the energy pointing games share: the share of the positive attribution that lies in a region.

The order is the same for all: channels are summed and the map is resized by the method, then negative values become 0.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.protocols.base import Scores, status_of
from xaibench.protocols.masks import Localisation, positive_part
from xaibench.protocols.moved import forwarding

__getattr__ = forwarding(__name__, "localization.epg", "localization.seg_epg", "localization.x_seg_epg")


def energy_share(maps: Tensor, part: Tensor, whole: Tensor | None = None) -> Tensor:
    """The energy pointing game: the share of the positive attribution that lies in a region.

    sum of max(map, 0) over `part` / sum of max(map, 0) over `whole`. The scale of a map changes nothing.

    Args:
        maps: (P, 1, H, W), any floating dtype.
        part: (P, H, W) bool, a subset of whole: where attribution counts as right.
        whole: (P, H, W) bool: where attribution counts at all; every pixel by default.

    Returns:
        (P,) float64 in [0, 1], higher is better; NaN where the map has no positive value in `whole`, or any value that
        is not finite.

    Examples:
        >>> import torch
        >>> from xaibench.functional import energy_share
        >>> maps = torch.tensor([[[[3.0, 1.0], [-5.0, 0.0]]]])
        >>> energy_share(maps, part=torch.tensor([[[True, False], [True, False]]])).tolist()
        [0.75]

    Source: Wang et al., Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks, CVPR workshops
    2020 (energy-based pointing game).
    """
    positive = positive_part(maps)
    inside = (positive * part).sum((1, 2))
    return inside / (positive if whole is None else positive * whole).sum((1, 2))


@dataclass(frozen=True)
class Regions:
    """part (P, H, W) bool: where attribution counts as right; whole: where it counts at all, None for every pixel."""

    part: Tensor
    whole: Tensor | None = None


@dataclass(frozen=True)
class EnergyGame(Localisation):
    """The base class of the energy pointing games, which differ in their regions."""

    has_oracle: ClassVar[bool] = True

    @abstractmethod
    def prepare(self, e: Evidence) -> Regions:
        """The regions of the pairs."""

    def score(self, prepared: Regions, maps: Tensor) -> Scores:
        """The share per pair; undefined without positive attribution, or where the region has no pixel."""
        values = energy_share(maps, prepared.part, prepared.whole)
        return status_of(values, ~values.isfinite(), ~prepared.part.flatten(1).any(1))

    def oracle(self, prepared: Regions, size: tuple[int, int]) -> Tensor:
        """The region itself."""
        return prepared.part[:, None].double()
