"""Incremental deletion (IDS) and symmetric relevance gain (SRG): the model's probability while the image goes.

IDS: Hesse, Schaub-Meyer, Roth, NeurIPS 2024, after Hesse et al. 2021. SRG: Blücher, Vielhaben, Strodthoff 2024.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Protocol, Scores, status_of
from xaibench.protocols.curves import (
    constant_or_not_finite,
    counts,
    pair_scores,
    places,
    ranks,
    replaced_scores,
    stand_in,
    tie_order,
    tied_scores,
)
from xaibench.protocols.patches import BASELINES, cell_masks, cell_sums, check_grid
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices, check_whole

LEVELS, ORDERS, ATTRIBUTIONS = ("pixel", "patch"), ("ascending", "descending"), ("fixed", "updated")


def incremental_deletion_score(heights: Tensor, order: str) -> Tensor:
    """(P,) in [0, 1], higher is better, of probabilities (P, steps) after 0, 1, ..., steps - 1 of `steps` steps.

    ascending (the least important go first): their mean. descending: 1 minus their mean.
    """
    return heights.mean(1) if order == "ascending" else 1 - heights.mean(1)


def symmetric_relevance_gain(least_first: Tensor, most_first: Tensor) -> Tensor:
    """(P,) in [-1, 1], higher is better: mean(least_first) - mean(most_first), both (P, steps) as above.

    As the curves meet at both ends, this is the area between them by the trapezoid rule.
    """
    return least_first.mean(1) - most_first.mean(1)


@dataclass(frozen=True)
class _Steps(Protocol):
    """Settings that both share, and how an image goes."""

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
        """Raises XaibenchError where images of size (H, W) do not divide into the cells, or have too few of them."""
        units = size[0] * size[1]
        if self.level == "patch":
            check_grid(size, self.grid)
            units = self.grid**2
        if units < self.steps:
            raise XaibenchError(
                f"{self.steps} steps need as many units ({self.level}); images have {units}: lower steps"
            )

    def prepare(self, e: Evidence) -> Evidence:
        """The evidence, in which the intact image's logits and the stand-in are remembered for all methods."""
        e.logits(), stand_in(e, self.baseline)
        return e

    def values(self, maps: Tensor) -> Tensor:
        """(P, units): pixels of the maps, or sums over their cells."""
        return maps.flatten(1) if self.level == "pixel" else cell_sums(maps, self.grid)

    def per_pixel(self, units: Tensor, size: tuple[int, int]) -> Tensor:
        """(P, H, W): what is known of each unit (P, units), at each of its pixels."""
        if self.level == "pixel":
            return units.unflatten(1, size)
        cells = cell_masks(size, self.grid, torch.arange(self.grid**2, device=units.device)).int().argmax(0)[0]
        return units[:, cells]

    def places(self, e: Evidence, maps: Tensor, order: str) -> Tensor:
        """(P, units) int64: the place of each unit in the order of deletion."""
        values = self.values(maps)
        found = ranks(values, tie_order(e, values.shape[1]))
        return found if order == "descending" else values.shape[1] - 1 - found

    def heights(self, e: Evidence, maps: Tensor, order: str) -> Tensor:
        """(P, steps) float64: the target's probability after 0, 1, ..., steps - 1 steps."""
        found, size = self.places(e, maps, order), tuple(maps.shape[-2:])
        amounts = counts(found.shape[1], self.steps)[1:-1]
        blank = stand_in(e, self.baseline)
        after = replaced_scores(e, self.per_pixel(found, size), amounts, e.images, blank, "probability")
        return torch.cat([e.scores(e.logits(), "probability").double()[:, None], after], 1)


@dataclass(frozen=True)
class IncrementalDeletion(_Steps):
    """Settings: level (pixel, patch of a grid), grid (cells a side, for patches), steps, baseline (zero, random, blur),
    target, attribution_output, order (ascending: least important first; descending), and whether the attribution of the
    intact image decides (fixed) or that of each image on the way (updated)."""

    order: str = "ascending"
    attribution: str = "fixed"

    def __post_init__(self):
        super().__post_init__()
        check_choices(self, order=ORDERS, attribution=ATTRIBUTIONS)

    @property
    def description(self) -> str:
        """Such as `ascending, fixed, pixels, 32 steps, zero baseline, label, logit`."""
        return f"{self.order}, {self.attribution}, {super().description}"

    def score(self, prepared: Evidence, maps: Tensor) -> Scores:
        """Scores (P,), higher is better, and `tied`; raises XaibenchError for updated attributions, which need the
        method."""
        if self.attribution == "updated":
            raise XaibenchError("attribution=updated explains every image on the way: it needs the method, not its map")
        return self._scores(prepared, maps, self.heights(prepared, maps, self.order))

    def score_method(self, prepared: Evidence, maps: Tensor, again: Callable[[Evidence], Tensor]) -> Scores:
        """As `score`; updated attributions are made anew at every step."""
        if self.attribution == "fixed":
            return self.score(prepared, maps)
        return self._scores(prepared, maps, self._updated(prepared, maps, again))

    def _updated(self, e: Evidence, maps: Tensor, again: Callable[[Evidence], Tensor]) -> Tensor:
        """(P, steps): as `heights`, the order of what is left being that of the current image's own map.

        NaN after a step whose map was not finite.
        """
        size, blank = tuple(maps.shape[-2:]), stand_in(e, self.baseline)[e.owner]
        units = self.values(maps).shape[1]
        heights, current = [e.scores(e.logits(), "probability").double()], e.inputs
        gone = torch.zeros(len(maps), units, dtype=torch.bool, device=maps.device)
        for step, amount in enumerate(counts(units, self.steps)[1:-1]):
            if step:
                maps = again(e.at(current))
            left = self.places(e, maps, self.order)
            gone = places(torch.where(gone, left - units, left).argsort(1)) < amount
            current = shown = torch.where(self.per_pixel(gone, size)[:, None], blank, e.inputs)
            logits = e.runner.logits(len(shown), lambda index, shown=shown: shown[index])
            finite = maps.flatten(1).isfinite().all(1)
            heights.append(torch.where(finite, pair_scores(e, logits, "probability"), torch.nan))
        return torch.stack(heights, 1)

    def _scores(self, e: Evidence, maps: Tensor, heights: Tensor) -> Scores:
        bad_maps = constant_or_not_finite(maps) | constant_or_not_finite(self.values(maps))
        found = status_of(
            incremental_deletion_score(heights, self.order),
            bad_maps | ~heights.isfinite().all(1),
            ~heights[:, 0].isfinite(),
        )
        return replace(found, also={"tied": tied_scores(self.values(maps))})


@dataclass(frozen=True)
class SymmetricRelevanceGain(_Steps):
    """Settings: level (pixel, patch of a grid), grid (cells a side, for patches), steps, baseline (zero, random, blur),
    target and attribution_output. Both orders are computed, from the intact image's map."""

    def score(self, prepared: Evidence, maps: Tensor) -> Scores:
        """Gains (P,), higher is better; `least-first` and `most-first` are the two means, and `tied`."""
        least, most = (self.heights(prepared, maps, order) for order in ORDERS)
        bad_maps = constant_or_not_finite(maps) | constant_or_not_finite(self.values(maps))
        bad_maps |= ~torch.cat([least, most], 1).isfinite().all(1)
        bad_ends = ~least[:, 0].isfinite()
        means = {"least-first": least.mean(1), "most-first": most.mean(1)}
        also = {name: status_of(mean, bad_maps, bad_ends) for name, mean in means.items()}
        found = status_of(symmetric_relevance_gain(least, most), bad_maps, bad_ends)
        return replace(found, also=also | {"tied": tied_scores(self.values(maps))})
