"""The energy pointing games: which share of the positive attribution lies in the boxes, or on the mask, of a class?

EPG: Wang et al. 2020, as used by Rao et al., ICCV 2023, who also restrict it to the object inside its boxes (seg-epg).
X-SegEPG counts everything off the object as wrong; SCH is the same number under another name. One order for all:
channels are summed and the map is resized by the method, then negative values become 0.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.protocols.base import Scores, status_of
from xaibench.protocols.masks import Localisation, between, class_boxes, class_masks, positive_part, valid_pixels


def energy_share(maps: Tensor, part: Tensor, whole: Tensor | None = None) -> Tensor:
    """Positive attribution in `part` / positive attribution in `whole`: (P,) float64 in [0, 1], higher is better.

    maps (P, 1, H, W); part (P, H, W) bool, a subset of whole (P, H, W) bool, which is the image by default. NaN where
    the map has no positive value in `whole`, or is not finite anywhere. The scale of a map changes nothing. Wang et
    al. 2020.
    """
    positive = positive_part(maps)
    inside = (positive * part).sum((1, 2))
    return inside / (positive if whole is None else positive * whole).sum((1, 2))


@dataclass(frozen=True)
class Regions:
    """Where attribution counts as right, part (P, H, W) bool, and where it counts at all: whole, None for the image."""

    part: Tensor
    whole: Tensor | None = None


@dataclass(frozen=True)
class EnergyGame(Localisation):
    """What the energy pointing games share; they differ in their regions."""

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


@dataclass(frozen=True)
class BoxEnergy(EnergyGame):
    """EPG: positive attribution in the union of the class's boxes, as a share of all.

    Settings: those of `Localisation`, and alpha, the exponent of the further metric `epg-alpha`, EPG / pixels^alpha.
    `box-pixels`, the size of the boxes, is another; `xaibench leaderboard epg --correlate box-pixels` compares the two.
    """

    needs: ClassVar[tuple[str, ...]] = ("boxes",)
    alpha: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        between("alpha", self.alpha, 0, 1)

    @property
    def description(self) -> str:
        """Such as `labels, logit, alpha 0.5`."""
        return f"{super().description}, alpha {self.alpha:g}"

    def prepare(self, e: Evidence) -> Regions:
        """The union of boxes."""
        return Regions(class_boxes(e, self.every))

    def score(self, prepared: Regions, maps: Tensor) -> Scores:
        """EPG with its further metrics; the size of boxes is defined whatever the map."""
        epg, pixels = super().score(prepared, maps), prepared.part.sum((1, 2)).double()
        no_map, no_box = epg.values.isnan(), pixels == 0
        also = {
            "epg-alpha": status_of(epg.values / pixels**self.alpha, no_map, no_box),
            "box-pixels": status_of(pixels, torch.zeros_like(no_map), no_box),
        }
        return Scores(epg.values, epg.status, also)


@dataclass(frozen=True)
class ObjectEnergyInBoxes(EnergyGame):
    """SegEPG: positive attribution on the object within its boxes, as a share of what the boxes hold."""

    needs: ClassVar[tuple[str, ...]] = ("boxes", "masks")

    def prepare(self, e: Evidence) -> Regions:
        """Mask and boxes, and the boxes; without what the data set leaves undecided."""
        boxes, known = class_boxes(e, self.every), valid_pixels(e)
        whole = boxes if known is None else boxes & known
        return Regions(class_masks(e, self.every) & whole, whole)


@dataclass(frozen=True)
class ObjectEnergy(EnergyGame):
    """X-SegEPG, and SCH: positive attribution on the object, as a share of all."""

    needs: ClassVar[tuple[str, ...]] = ("masks",)

    def prepare(self, e: Evidence) -> Regions:
        """The mask, and all that the data set decides."""
        mask, known = class_masks(e, self.every), valid_pixels(e)
        return Regions(mask if known is None else mask & known, known)
