"""SaCo: does a group of pixels with more salience move the prediction more, and is the difference in salience fair?

Wu et al., CVPR 2024.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Protocol, Scores, status_of
from xaibench.protocols.curves import pair_scores, removal_counts, removal_places, tie_order, tied_scores
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices, check_whole
from xaibench.protocols.statistics import constant_or_not_finite

BASELINES = ("mean", "zero")


def salience_groups(maps: Tensor, places: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Pixels of a map in groups of equal numbers (to the nearest pixel), the most salient first, and their sums.

    Where groups differ by a pixel, sums are those of groups of the mean number with the same mean, so that a constant
    that is added to a map changes no difference.

    Args:
        maps: (P, 1, H, W), any floating dtype.
        places: (P, H W) int64: the place of each pixel in the order of the map, see `removal_places`.
        groups: how many.

    Returns:
        The number of each pixel's group, (P, H W) int64 from 0, and the sums of the map, (P, groups) float64.

    Examples:
        >>> import torch
        >>> from xaibench.functional import salience_groups
        >>> numbers, sums = salience_groups(torch.tensor([[[[1.0, 4.0, 2.0, 3.0]]]]), torch.tensor([[3, 0, 2, 1]]), 2)
        >>> numbers.tolist(), sums.tolist()
        ([[1, 0, 1, 0]], [[7.0, 3.0]])
    """
    ends = torch.tensor(removal_counts(places.shape[1], groups)[1:], device=places.device)
    numbers = torch.searchsorted(ends, places, right=True)
    sums = torch.zeros(len(maps), groups, dtype=torch.float64, device=maps.device)
    sums.scatter_add_(1, numbers, maps.flatten(1).double())
    sizes = ends.diff(prepend=ends.new_zeros(1)).double()
    return numbers, sums * (places.shape[1] / groups / sizes)


def saco_score(sums: Tensor, drops: Tensor) -> Tensor:
    """The salience-guided faithfulness coefficient of groups of pixels.

    Over all pairs of groups, i before j: the sum of w = s_i - s_j where d_i >= d_j, else of -w, over the sum of |w|.

    Args:
        sums: (P, K) floating: the salience s of each group, the most salient first.
        drops: (P, K): how much the target's probability falls without the group.

    Returns:
        (P,) float64 in [-1, 1], higher is better; 0 is to be expected of drops that have nothing to do with the map, 1
        of drops that are all equal, as ties count as agreement. NaN where all groups have the same salience, or a value
        is not finite.

    Examples:
        >>> import torch
        >>> from xaibench.functional import saco_score
        >>> saco_score(torch.tensor([[3.0, 2.0, 0.0]]), torch.tensor([[0.1, 0.3, 0.0]])).round(decimals=6).tolist()
        [0.666667]

    Source: Wu, Kang, Tang, Hong, Yan, On the Faithfulness of Vision Transformer Explanations, CVPR 2024.
    """
    first, second = torch.triu_indices(sums.shape[1], sums.shape[1], 1, device=sums.device)
    sums, drops = sums.double(), drops.double()
    weights = sums[:, first] - sums[:, second]
    agrees = drops[:, first] >= drops[:, second]
    total = weights.abs().sum(1)
    usable = sums.isfinite().all(1) & drops.isfinite().all(1) & (total > 0)
    score = torch.where(agrees, weights, -weights).sum(1) / torch.where(usable, total, 1.0)
    return torch.where(usable, score, torch.nan)


@dataclass(frozen=True)
class Saco(Protocol):
    """Settings: groups of equal numbers of pixels; baseline that replaces a group (mean: the image's own mean colour,
    zero: the mean colour of the data); target explained and scored (label, prediction); attribution_output explained
    (logit, probability)."""

    groups: int = 10
    baseline: str = "mean"
    target: str = "label"
    attribution_output: str = "logit"

    def __post_init__(self):
        check_choices(self, baseline=BASELINES, target=TARGETS, attribution_output=OUTPUTS)
        check_whole(self, groups=2)

    def check(self, size: tuple[int, int]) -> None:
        """Raises XaibenchError where images of size (H, W) have fewer pixels than there are groups."""
        if size[0] * size[1] < self.groups:
            raise XaibenchError(f"{self.groups} groups need at least as many pixels; images have {size[0]}x{size[1]}")

    def prepare(self, e: Evidence) -> Evidence:
        """The evidence, with the logits of the images."""
        e.logits()
        return e

    def score(self, prepared: Evidence, maps: Tensor) -> Scores:
        """Scores (P,), higher is better; `tied-drops` is the share of the pairs of groups whose drops are equal, and
        `tied` that of the pixels whose order was drawn."""
        values = maps.flatten(1)
        numbers, sums = salience_groups(maps, removal_places(values, tie_order(prepared, values.shape[1])), self.groups)
        drops = self._drops(prepared, numbers.view(len(maps), *maps.shape[-2:]))
        lost, score = ~drops.isfinite().all(1), saco_score(sums, drops)
        bad_maps = constant_or_not_finite(maps) | score.isnan()
        equal = (drops[:, :, None] == drops[:, None]).sum((1, 2)) - self.groups
        share = equal / (self.groups * (self.groups - 1))
        also = {"tied-drops": status_of(share, bad_maps, lost), "tied": tied_scores(values)}
        return replace(status_of(score, bad_maps, lost), also=also)

    def _drops(self, e: Evidence, numbers: Tensor) -> Tensor:
        """The fall (P, groups) float64 of the target's probability without each group; numbers (P, H, W) say which
        group a pixel is in."""
        mean = e.images.mean((2, 3), keepdim=True) if self.baseline == "mean" else e.baseline("zero")[None]
        start = mean.expand_as(e.images)

        def inputs(index: Tensor) -> Tensor:
            pair, image = index // self.groups, e.owner[index // self.groups]
            gone = numbers[pair] == (index % self.groups)[:, None, None]
            return torch.where(gone[:, None], start[image], e.images[image])

        logits = e.runner.logits(len(numbers) * self.groups, inputs, numbers.device).unflatten(0, (-1, self.groups))
        intact = e.scores(e.logits().double(), "probability")
        return intact[:, None] - pair_scores(e, logits.double(), "probability")
