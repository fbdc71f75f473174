"""SDS and IDSDS: does an attribution rank the cells of an image as their single deletion does?

Hesse, Schaub-Meyer, Roth, NeurIPS 2024. The two differ in the weights: IDSDS judges a model that was fine-tuned on
images with one deleted cell, so that a deletion is nothing new to it; SDS judges the model as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.cards import Alignment
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Protocol, Scores, misaligned, status_of
from xaibench.protocols.patches import BASELINES, cell_masks, cell_sums, check_grid, replacement, spread
from xaibench.protocols.statistics import spearman

TARGETS, OUTPUTS = ("label", "prediction"), ("logit", "probability")


def single_deletion_score(drops: Tensor, maps: Tensor) -> Tensor:
    """Spearman correlation (P,) in [-1, 1], higher is better, of cell sums of maps (P, 1, H, W) with drops (P, grid²).

    Cells are numbered row by row. NaN where the drops or the cell sums are constant or not finite.
    """
    grid = round(drops.shape[1] ** 0.5)
    return spearman(cell_sums(maps, grid), drops)


def deleted_logits(e: Evidence, grid: int, baseline: str) -> Tensor:
    """Logits (B, grid², K) of every image with each cell replaced, row by row, once for all who ask."""
    size, cells = tuple(e.images.shape[-2:]), grid**2

    def edit(image: Tensor, cell: Tensor) -> Tensor:
        inputs, ids = e.images[image], [e.image_ids[i] for i in image.tolist()]
        cell = cell.to(inputs.device)
        return torch.where(
            cell_masks(size, grid, cell), replacement(baseline, inputs, cell, e.seed, ids, e.zero), inputs
        )

    return e.logits_under(("single deletion", grid, baseline), cells, edit)


def deletion_drops(e: Evidence, grid: int, baseline: str, output: str) -> Tensor:
    """(P, grid²) float64: the target's score on the image minus its score with each cell replaced, row by row."""
    deleted = e.scores(deleted_logits(e, grid, baseline), output)
    return e.scores(e.logits(), output).double()[:, None] - deleted.double()


@dataclass(frozen=True)
class SingleDeletion(Protocol):
    """Settings: grid (cells a side; papers use 2, 4, 8), baseline of deleted cells (zero, random, blur), target (label,
    prediction), and whether logit or probability is explained and measured in drops."""

    has_oracle: ClassVar[bool] = True
    grid: int = 4
    baseline: str = "zero"
    target: str = "label"
    attribution_output: str = "logit"
    drop_output: str = "logit"

    def __post_init__(self):
        choices = {
            "baseline": BASELINES, "target": TARGETS, "attribution_output": OUTPUTS, "drop_output": OUTPUTS,
        }  # fmt: skip
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise XaibenchError(f"{name} is {' or '.join(allowed)}, not {getattr(self, name)!r}")
        if not isinstance(self.grid, int) or self.grid < 2:
            raise XaibenchError(f"grid is a whole number of cells a side, such as 2, 4 or 8, not {self.grid}")

    @property
    def description(self) -> str:
        """Such as `grid 4, zero baseline, label, logit`."""
        same = self.attribution_output == self.drop_output
        output = self.drop_output if same else f"{self.attribution_output} explained, {self.drop_output} drops"
        return f"grid {self.grid}, {self.baseline} baseline, {self.target}, {output}"

    def check(self, size: tuple[int, int]) -> None:
        """Raises XaibenchError unless images of size (H, W) divide into the grid's cells."""
        check_grid(size, self.grid)

    @property
    def alignment(self) -> Alignment:
        """The published one, with this grid and baseline."""
        return Alignment(grid=self.grid, baseline=self.baseline, probability=0.5)

    def check_weights(self, alignment: Alignment | None) -> str | None:
        """Weights are in-domain when they were aligned with this grid and baseline."""
        return misaligned(self.alignment, alignment)

    def prepare(self, e: Evidence) -> Tensor:
        """Drops (P, grid²)."""
        return e.once(
            ("drops", self.grid, self.baseline, self.drop_output),
            lambda: deletion_drops(e, self.grid, self.baseline, self.drop_output),
        )

    def score(self, prepared: Tensor, maps: Tensor) -> Scores:
        """Spearman per pair; undefined where the map's cells, or the drops, are constant or not finite."""
        bad_maps = _unrankable(cell_sums(maps, self.grid))
        return status_of(single_deletion_score(prepared, maps), bad_maps, _unrankable(prepared))

    def regions(self, size: tuple[int, int]) -> Tensor:
        """(H, W) int64: the number of each pixel's cell."""
        return cell_masks(size, self.grid, torch.arange(self.grid**2)).int().argmax(0)[0]

    def oracle(self, prepared: Tensor, size: tuple[int, int]) -> Tensor:
        """The drops themselves, spread over their cells: what Occlusion with the protocol's own cells computes."""
        return spread(prepared, size)


def _unrankable(values: Tensor) -> Tensor:
    """(P,) bool: true where values (P, n) are all equal or not all finite."""
    finite = values.isfinite().all(1)
    return ~finite | (values == values[:, :1]).all(1)
