"""X-SegEPG, and SCH: which share of the positive attribution lies on the mask of a class?

X-SegEPG: the reproducibility study of Rao et al. 2023, 2024. SCH, segmentation content heatmap: Bartak et al., TMLR
2024; the same number under another name, by default of the label alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.attribution.evidence import Evidence
from xaibench.protocols.energy_pointing import EnergyGame, Regions
from xaibench.protocols.masks import class_masks, valid_pixels


@dataclass(frozen=True)
class ObjectEnergy(EnergyGame):
    """X-SegEPG, and SCH: positive attribution on the object, as a share of all."""

    needs: ClassVar[tuple[str, ...]] = ("masks",)

    def prepare(self, e: Evidence) -> Regions:
        """part: the mask; whole: the pixels whose class is annotated."""
        mask, valid = class_masks(e, self.every), valid_pixels(e)
        return Regions(mask if valid is None else mask & valid, valid)
