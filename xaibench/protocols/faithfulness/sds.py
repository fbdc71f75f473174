"""SDS and IDSDS: does an attribution rank the cells of an image as their single deletion does?

Hesse, Schaub-Meyer, Roth, NeurIPS 2024. The two differ in the weights: IDSDS measures a model that was fine-tuned on
images with one deleted cell, so that deletions are in its domain; SDS measures the model as it is.
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
from xaibench.protocols.patches import BASELINES, cell_masks, cell_sums, check_grid, spread
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices
from xaibench.protocols.single_deletion import deletion_drops
from xaibench.protocols.statistics import constant_or_not_finite, spearman


def single_deletion_score(drops: Tensor, maps: Tensor) -> Tensor:
    """Spearman's correlation, over the cells of a grid, of the attribution in a cell with what its deletion costs.

    Args:
        drops: (P, grid²), any real dtype: f(x) - f(x without the cell) for each cell, row by row.
        maps: (P, 1, H, W), any real dtype; H and W are multiples of grid.

    Returns:
        (P,) float64 in [-1, 1], higher is better; NaN where the drops or the cell sums are constant or not finite.

    Raises:
        XaibenchError: maps do not divide into the grid's cells.

    Examples:
        >>> import torch
        >>> from xaibench.functional import single_deletion_score
        >>> maps = torch.tensor([[[[4.0, 3.0], [2.0, 1.0]]]])
        >>> round(float(single_deletion_score(torch.tensor([[0.9, 0.1, 0.3, 0.0]]), maps)), 6)
        0.8

    Source: Hesse, Schaub-Meyer, Roth, Benchmarking the Attribution Quality of Vision Models, NeurIPS 2024.
    """
    grid = round(drops.shape[1] ** 0.5)
    return spearman(cell_sums(maps, grid), drops)


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
        check_choices(self, baseline=BASELINES, target=TARGETS, attribution_output=OUTPUTS, drop_output=OUTPUTS)
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
        bad_maps = constant_or_not_finite(cell_sums(maps, self.grid))
        return status_of(single_deletion_score(prepared, maps), bad_maps, constant_or_not_finite(prepared))

    def regions(self, size: tuple[int, int]) -> Tensor:
        """(H, W) int64: the number of each pixel's cell."""
        return cell_masks(size, self.grid, torch.arange(self.grid**2)).int().argmax(0)[0]

    def oracle(self, prepared: Tensor, size: tuple[int, int]) -> Tensor:
        """The drops themselves, spread over their cells: what Occlusion with the protocol's own cells computes."""
        return spread(prepared, size)
