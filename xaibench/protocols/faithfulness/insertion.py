"""Insertion: how fast does the model's score rise while the pixels that a map calls important come into a blank image?

Petsiuk, Das, Saenko, BMVC 2018.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.protocols.base import Scores, status_of
from xaibench.protocols.curves import tied_scores
from xaibench.protocols.insertion_deletion import CurveProtocol


@dataclass(frozen=True)
class Insertion(CurveProtocol):
    """The area under the curve from a blank image (`blur`, `zero`, `gaussian`) to the image, most important pixels
    first."""

    start: str = "blur"
    blanks: ClassVar[tuple[str, ...]] = ("start",)

    def score(self, prepared: Evidence, maps: Tensor) -> Scores:
        """Areas (P,), higher is better; `tied` is the share of pixels whose order was drawn."""
        scores = status_of(*self.area(prepared, maps, self.start, insertion=True))
        return replace(scores, also={"tied": tied_scores(maps.flatten(1))})
