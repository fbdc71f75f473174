"""ARCC: ADCC with ROAD in the place of average drop, so that pixels are filled in and not faded.

Domeniconi et al., How to Evaluate and Refine your CAM, ICPR 2026.
The harmonic mean of coherency, 1 - complexity and the positive part of ROAD, doubled: that is what the code of
pytorch-grad-cam 1.5.7 computes (its docstring says geometric).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.protocols.base import Scores
from xaibench.protocols.faithfulness.adcc import Adcc
from xaibench.protocols.faithfulness.road import Road
from xaibench.protocols.masked_image import Masked


@dataclass(frozen=True)
class Arcc(Adcc):
    """The harmonic mean of coherency, 1 - complexity and 2 max(0, ROAD).

    Settings: those of `MaskedImage`, for coherency and complexity, and steps and noise of `Road` (5 steps: 20, 40, 60
    and 80 % of the pixels are removed).
    """

    steps: int = 5
    noise: float = 0.01

    def __post_init__(self):
        super().__post_init__()
        self.road  # noqa: B018  (its settings are checked)

    @property
    def road(self) -> Road:
        """ROAD with the same settings."""
        return Road(self.steps, self.noise, self.target, self.attribution_output)

    def check(self, size: tuple[int, int]) -> None:
        """Raises XaibenchError where images of size (H, W) have fewer pixels than there are steps."""
        self.road.check(size)

    def prepare(self, e: Evidence) -> Evidence:
        """The evidence, with the logits of the images and the noise of ROAD."""
        return self.road.prepare(super().prepare(e))

    def kept(self, e: Evidence, maps: Tensor, masked: Masked) -> tuple[str, Scores, Tensor]:
        """ROAD in [-0.5, 0.5], higher is better, and its positive part brought to [0, 1]."""
        road = self.road.score(e, maps)
        return "road", Scores(road.values, road.status), (2 * road.values).clamp(0, 1)
