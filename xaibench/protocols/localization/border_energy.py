"""Border energy: which share of the positive attribution lies at the border of the image?

Bartak et al., Reproducibility Study of LICO, TMLR 2024, remark that maps of networks trained with LICO have artefacts
there, without a number; this score is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.protocols.energy_pointing import EnergyGame, Regions


def border_mask(size: tuple[int, int], border: float) -> Tensor:
    """The pixels at most `border` of the height or the width from an edge, at least one pixel: (H, W) bool.

    Examples:
        >>> border_mask((4, 10), 0.1).int().sum().item()
        24
    """
    mask = torch.ones(size, dtype=torch.bool)
    high, wide = (max(1, round(border * side)) for side in size)
    mask[high : size[0] - high, wide : size[1] - wide] = False
    return mask


@dataclass(frozen=True)
class BorderEnergy(EnergyGame):
    """Positive attribution at the border, as a share of all; lower is better.

    border: the width of the border as a share of the side, above 0 and below 0.5.
    """

    has_oracle: ClassVar[bool] = False
    border: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.border < 0.5:
            raise XaibenchError(f"border is a share of the side above 0 and below 0.5, not {self.border}")

    def prepare(self, e: Evidence) -> Regions:
        """part: the border of each pair's image."""
        size = tuple(e.images.shape[-2:])
        return Regions(border_mask(size, self.border).to(e.images.device).expand(len(e.targets), *size))
