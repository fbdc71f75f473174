"""Insertion minus deletion. Both curves are drawn, so this reports all three numbers at the price of two.

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
class Combined(CurveProtocol):
    """Insertion minus deletion; both are further metrics, so this is the cheap way to all three."""

    start: str = "blur"
    baseline: str = "zero"
    blanks: ClassVar[tuple[str, ...]] = ("start", "baseline")

    def score(self, prepared: Evidence, maps: Tensor) -> Scores:
        """Differences (P,), higher is better, with `insertion`, `deletion` and `tied`."""
        insertion = self.area(prepared, maps, self.start, insertion=True)
        deletion = self.area(prepared, maps, self.baseline, insertion=False)
        scores = status_of(insertion[0] - deletion[0], insertion[1] | deletion[1], insertion[2] | deletion[2])
        both = {"insertion": status_of(*insertion), "deletion": status_of(*deletion)}
        return replace(scores, also=both | {"tied": tied_scores(maps.flatten(1))})
