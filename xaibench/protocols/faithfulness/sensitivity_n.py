"""Sensitivity-n: do sums of the map over sets of cells vary with the drop of the output when the set is deleted?

Ancona et al., ICLR 2018. The paper deletes sets of n pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Protocol, Scores, status_of
from xaibench.protocols.patches import cell_masks, cell_sums, check_grid
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices, check_whole
from xaibench.protocols.statistics import constant_or_not_finite, pearson


def sensitivity_n_score(sums: Tensor, drops: Tensor) -> Tensor:
    """Pearson's correlation, over sets of pixels or cells, of the map's sum in a set with what its deletion costs.

    Args:
        sums: (P, sets), any real dtype.
        drops: (P, sets): f(x) - f(x without the set).

    Returns:
        (P,) float64 in [-1, 1], higher is better; NaN where either is constant.

    Examples:
        >>> import torch
        >>> from xaibench.functional import sensitivity_n_score
        >>> round(float(sensitivity_n_score(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.2, 0.4, 0.6]]))), 6)
        1.0

    Source: Ancona, Ceolini, Öztireli, Gross, Towards better understanding of gradient-based attribution methods for
    Deep Neural Networks, ICLR 2018.
    """
    return pearson(sums, drops)


@dataclass(frozen=True)
class SensitivityN(Protocol):
    """Settings: grid (cells a side), share of the cells that a set deletes, sets, target (label, prediction),
    attribution_output and drop_output (logit, probability). Deleted cells become the zero baseline."""

    grid: int = 8
    share: float = 0.25
    sets: int = 64
    target: str = "label"
    attribution_output: str = "logit"
    drop_output: str = "logit"

    def __post_init__(self):
        check_choices(self, target=TARGETS, attribution_output=OUTPUTS, drop_output=OUTPUTS)
        check_whole(self, grid=2, sets=3)
        if not isinstance(self.share, (int, float)) or not 0 < self.share < 1:
            raise XaibenchError(f"share is a number between 0 and 1, not {self.share!r}")

    def check(self, size: tuple[int, int]) -> None:
        """Raises XaibenchError unless images of size (H, W) divide into the grid's cells."""
        check_grid(size, self.grid)

    def prepare(self, e: Evidence) -> tuple[Tensor, Tensor]:
        """Sets (P, sets, grid²) bool of deleted cells, drawn per image, and the drops (P, sets), once for all."""
        key, size = ("sensitivity-n", self.grid, self.share, self.sets), tuple(e.images.shape[-2:])
        cells = cell_masks(size, self.grid, torch.arange(self.grid**2)).int().argmax(0)[0].to(e.images.device)
        zero = e.baseline("zero")

        def draw() -> Tensor:
            shuffled = e.random("sensitivity-n", (self.sets, self.grid**2), torch.rand).argsort(-1).argsort(-1)
            return shuffled < max(1, round(self.share * self.grid**2))

        sets = e.once(key, draw, per_image=True)

        def edit(image: Tensor, number: Tensor) -> Tensor:
            return torch.where(sets[image, number][:, cells][:, None], zero, e.images[image])

        deleted = e.scores(e.logits_under(key, self.sets, edit), self.drop_output).double()
        return sets[e.owner], e.scores(e.logits(), self.drop_output).double()[:, None] - deleted

    def score(self, prepared: tuple[Tensor, Tensor], maps: Tensor) -> Scores:
        """Correlations (P,), higher is better; undefined where the map or its sums are constant, the reference's fault
        where the drops are."""
        sets, drops = prepared
        values = cell_sums(maps, self.grid)
        bad_maps = constant_or_not_finite(maps) | constant_or_not_finite(values)
        sums = (sets.double() @ torch.where(bad_maps[:, None], 0.0, values)[:, :, None])[..., 0]
        found = sensitivity_n_score(sums, drops)
        bad_drops = constant_or_not_finite(drops)
        return status_of(found, bad_maps | constant_or_not_finite(sums) | found.isnan(), bad_drops)
