"""Accuracy under single deletions: is the model right on an image, whichever of its cells is deleted?

There is no attribution method: this is a check of the model that SDS or IDSDS is run on.

From Hesse, Schaub-Meyer, Roth, NeurIPS 2024: a model fine-tuned on deletions should lose little.
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
    """Whether the target has the highest logit under every deletion.

    Args:
        logits: (P, cells, K) floating: logits of each image without each cell.
        targets: (P,) int64, class indices.

    Returns:
        (P,) float64, 1 or 0; its mean over images is the accuracy under single deletions, higher is better.

    Examples:
        >>> import torch
        >>> from xaibench.functional import corrupted_accuracy_score
        >>> logits = torch.tensor([[[2.0, 1.0], [3.0, 0.0]], [[2.0, 1.0], [0.0, 3.0]]])
        >>> corrupted_accuracy_score(logits, torch.tensor([0, 0])).tolist()
        [1.0, 0.0]

    Source: Hesse, Schaub-Meyer, Roth, Benchmarking the Attribution Quality of Vision Models, NeurIPS 2024.
    """
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
        no_map = torch.zeros(len(labels), dtype=torch.bool, device=logits.device)
        intact = status_of((logits.argmax(1) == labels).double(), no_map, ~logits.isfinite().all(1))
        bad = ~deleted.isfinite().all(2).all(1)
        return replace(status_of(corrupted_accuracy_score(deleted, labels), no_map, bad), also={"accuracy": intact})
