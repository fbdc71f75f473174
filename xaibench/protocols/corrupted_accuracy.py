"""How often a model is right, and stays right whichever cell is deleted: what SDS and IDSDS rest on, without a method.

A sanity check of Hesse, Schaub-Meyer, Roth, NeurIPS 2024: a model fine-tuned on deletions should lose little.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.protocols.base import Protocol, Scores, status_of
from xaibench.protocols.patches import BASELINES, check_grid
from xaibench.protocols.settings import check_choices, check_whole
from xaibench.protocols.single_deletion import deleted_logits


def corrupted_accuracy_score(logits: Tensor, targets: Tensor) -> Tensor:
    """(P,) float64: 1 where the target (P,) has the highest logit (P, cells, K) under every deletion, else 0."""
    return (logits.argmax(-1) == targets[:, None]).all(1).double()


@dataclass(frozen=True)
class CorruptedAccuracy(Protocol):
    """Settings: grid (cells a side) and baseline of deleted cells (zero, random, blur), as those of sds and idsds, with
    which it shares its passes."""

    without_method: ClassVar[bool] = True
    grid: int = 4
    baseline: str = "zero"

    def __post_init__(self):
        check_choices(self, baseline=BASELINES)
        check_whole(self, grid=2)

    @property
    def description(self) -> str:
        """Such as `grid 4, zero baseline`."""
        return f"grid {self.grid}, {self.baseline} baseline"

    def check(self, size: tuple[int, int]) -> None:
        """Raises XaibenchError unless images of size (H, W) divide into the grid's cells."""
        check_grid(size, self.grid)

    def prepare(self, e: Evidence) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (P, K) and logits under every deletion (P, grid², K) of each pair's image, and the labels (P,)."""
        return e.logits()[e.owner], deleted_logits(e, self.grid, self.baseline)[e.owner], e.targets

    def score(self, prepared: tuple[Tensor, Tensor, Tensor], maps: Tensor | None) -> Scores:
        """1 or 0 (P,) for each image, and `accuracy`, the same of the intact image; undefined where logits are not
        finite."""
        logits, deleted, labels = prepared
        nobody = torch.zeros(len(labels), dtype=torch.bool, device=logits.device)
        intact = status_of((logits.argmax(1) == labels).double(), nobody, ~logits.isfinite().all(1))
        bad = ~deleted.isfinite().all(2).all(1)
        return replace(status_of(corrupted_accuracy_score(deleted, labels), nobody, bad), also={"accuracy": intact})
