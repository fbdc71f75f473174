"""EPG, the energy pointing game: which share of the positive attribution lies in the boxes of a class?

Wang et al. 2020, as used by Rao et al., ICCV 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.protocols.base import Scores, status_of
from xaibench.protocols.energy_pointing import EnergyGame, Regions
from xaibench.protocols.masks import class_boxes
from xaibench.protocols.settings import check_between


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
        check_between("alpha", self.alpha, 0, 1)

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
