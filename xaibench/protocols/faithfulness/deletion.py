"""Deletion: how fast does the model's score fall while the pixels that a map calls important go?

Petsiuk, Das, Saenko, BMVC 2018.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.protocols.base import Scores, status_of
from xaibench.protocols.curves import tied_scores
from xaibench.protocols.insertion_deletion import CurveProtocol


@dataclass(frozen=True)
class Deletion(CurveProtocol):
    """The area under the curve from the image to a blank one (`zero`, `blur`, `gaussian`), most important pixels
    first."""

    baseline: str = "zero"
    blanks: ClassVar[tuple[str, ...]] = ("baseline",)

    @property
    def key_fields(self) -> dict[str, Any]:
        """`blur` meant `gaussian` before; deletions to the zero baseline are the same."""
        return {"blur": "folded"} if self.baseline == "blur" else {}

    def score(self, prepared: Evidence, maps: Tensor) -> Scores:
        """Areas (P,), lower is better; `tied` is the share of pixels whose order was drawn."""
        scores = status_of(*self.area(prepared, maps, self.baseline, insertion=False))
        return replace(scores, also={"tied": tied_scores(maps.flatten(1))})
