"""SegEPG: of the positive attribution in the boxes of a class, which share lies on its mask?

Rao et al., ICCV 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.attribution.evidence import Evidence
from xaibench.protocols.energy_pointing import EnergyGame, Regions
from xaibench.protocols.masks import class_boxes, class_masks, valid_pixels


@dataclass(frozen=True)
class ObjectEnergyInBoxes(EnergyGame):
    """SegEPG: positive attribution on the object within its boxes, as a share of what the boxes hold."""

    needs: ClassVar[tuple[str, ...]] = ("boxes", "masks")

    def prepare(self, e: Evidence) -> Regions:
        """part: mask and boxes; whole: the boxes; both without pixels whose class is not annotated."""
        boxes, valid = class_boxes(e, self.every), valid_pixels(e)
        whole = boxes if valid is None else boxes & valid
        return Regions(class_masks(e, self.every) & whole, whole)
