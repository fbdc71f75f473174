"""What incremental deletion (IDS) and symmetric relevance gain (SRG) share: probabilities while units are deleted.

Units are pixels or cells. IDS: Hesse, Schaub-Meyer, Roth, NeurIPS 2024. SRG: Blücher, Vielhaben, Strodthoff 2024.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Protocol
from xaibench.protocols.curves import removal_counts, removal_places, replaced_scores, stand_in, tie_order
from xaibench.protocols.moved import forwarding
from xaibench.protocols.patches import BASELINES, cell_masks, cell_sums, check_grid
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices, check_whole
from xaibench.protocols.statistics import constant_or_not_finite

__getattr__ = forwarding(__name__, "faithfulness.ids", "faithfulness.srg")

LEVELS, ORDERS = ("pixel", "patch"), ("ascending", "descending")


@dataclass(frozen=True)
class IncrementalProtocol(Protocol):
    """A protocol that deletes units step by step and reads the target's probability after each step.

    Settings: level (pixel, or patch: cells of a grid), grid (cells a side, for patches), steps, baseline (zero, random,
    blur), target (label, prediction) and attribution_output (logit, probability).
    """

    level: str = "pixel"
    grid: int = 8
    steps: int = 32
    baseline: str = "zero"
    target: str = "label"
    attribution_output: str = "logit"

    def __post_init__(self):
        check_choices(self, level=LEVELS, baseline=BASELINES, target=TARGETS, attribution_output=OUTPUTS)
        check_whole(self, grid=2, steps=2)

    @property
    def description(self) -> str:
        """Such as `pixels, 32 steps, zero baseline, label, logit`."""
        level = "pixels" if self.level == "pixel" else f"patches of grid {self.grid}"
        return f"{level}, {self.steps} steps, {self.baseline} baseline, {self.target}, {self.attribution_output}"

    def check(self, size: tuple[int, int]) -> None:
        """Raises XaibenchError where images of size (H, W) do not divide into the cells, or have too few units."""
        units = size[0] * size[1]
        if self.level == "patch":
            check_grid(size, self.grid)
            units = self.grid**2
        if units < self.steps:
            raise XaibenchError(
                f"{self.steps} steps need as many units ({self.level}); images have {units}: lower steps"
            )

    def prepare(self, e: Evidence) -> Evidence:
        """The evidence, in which the intact image's logits and the replacing image are remembered for all methods."""
        e.logits(), stand_in(e, self.baseline)
        return e

    def values(self, maps: Tensor) -> Tensor:
        """(P, units): pixels of the maps (P, 1, H, W), or sums over their cells."""
        return maps.flatten(1) if self.level == "pixel" else cell_sums(maps, self.grid)

    def without_order(self, maps: Tensor) -> Tensor:
        """(P,) bool: where the map, or its sums over cells, are constant or not finite."""
        return constant_or_not_finite(maps) | constant_or_not_finite(self.values(maps))

    def per_pixel(self, units: Tensor, size: tuple[int, int]) -> Tensor:
        """(P, H, W): the value of each unit (P, units) at each of its pixels."""
        if self.level == "pixel":
            return units.unflatten(1, size)
        cells = cell_masks(size, self.grid, torch.arange(self.grid**2, device=units.device)).int().argmax(0)[0]
        return units[:, cells]

    def places(self, e: Evidence, maps: Tensor, order: str) -> Tensor:
        """(P, units) int64: the place of each unit in the order of deletion."""
        values = self.values(maps)
        places = removal_places(values, tie_order(e, values.shape[1]))
        return places if order == "descending" else values.shape[1] - 1 - places

    def heights(self, e: Evidence, maps: Tensor, order: str) -> Tensor:
        """(P, steps) float64: the target's probability after 0, 1, ..., steps - 1 steps."""
        places, size = self.places(e, maps, order), tuple(maps.shape[-2:])
        amounts = removal_counts(places.shape[1], self.steps)[1:-1]
        blank = stand_in(e, self.baseline)
        after = replaced_scores(e, self.per_pixel(places, size), amounts, e.images, blank, "probability")
        return torch.cat([e.scores(e.logits(), "probability").double()[:, None], after], 1)
