"""IDS, incremental deletion: does the model stay sure of its class while the least important pixels go?

Hesse, Schaub-Meyer, Roth, NeurIPS 2024, after Hesse et al. 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Scores, status_of, without_logits
from xaibench.protocols.curves import inverse_orders, removal_counts, stand_in, tied_scores
from xaibench.protocols.incremental_deletion import ORDERS, IncrementalProtocol
from xaibench.protocols.settings import check_choices

ATTRIBUTIONS = ("fixed", "updated")


def incremental_deletion_score(heights: Tensor, order: str) -> Tensor:
    """The mean probability of the target while units are deleted, or 1 minus it, so that higher is better.

    ascending (the least important units go first): mean(heights). descending: 1 - mean(heights).

    Args:
        heights: (P, steps) floating: probabilities after 0, 1, ..., steps - 1 of `steps` steps.
        order: "ascending" or "descending".

    Returns:
        (P,) of the dtype of heights, in [0, 1], higher is better.

    Examples:
        >>> import torch
        >>> from xaibench.functional import incremental_deletion_score
        >>> heights = torch.tensor([[1.0, 0.75, 0.5, 0.25]])
        >>> incremental_deletion_score(heights, "ascending"), incremental_deletion_score(heights, "descending")
        (tensor([0.6250]), tensor([0.3750]))

    Source: Hesse, Schaub-Meyer, Roth, Benchmarking the Attribution Quality of Vision Models, NeurIPS 2024.
    """
    return heights.mean(1) if order == "ascending" else 1 - heights.mean(1)


@dataclass(frozen=True)
class IncrementalDeletion(IncrementalProtocol):
    """The mean probability of the target while units are deleted in the order of a map.

    Settings: those of `IncrementalProtocol`; order (ascending: least important first; descending); attribution: the
    order of the intact image's map (fixed), or at each step that of the current image's own map (updated).
    """

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
        fine = torch.zeros(len(maps), dtype=torch.bool, device=maps.device)
        return self._scores(maps, self.heights(prepared, maps, self.order), fine)

    def score_method(self, prepared: Evidence, maps: Tensor, again: Callable[[Evidence], Tensor]) -> Scores:
        """As `score`; updated attributions are computed anew at every step."""
        if self.attribution == "fixed":
            return self.score(prepared, maps)
        return self._scores(maps, *self._updated_heights(prepared, maps, again))

    def _updated_heights(self, e: Evidence, maps: Tensor, again: Callable[[Evidence], Tensor]) -> tuple[Tensor, Tensor]:
        """(P, steps): as `heights`, but units that are left are ordered by the current image's own map.

        NaN after a step whose map was not finite. (P,) bool: where one was not although the network's logits were.
        """
        size, blank = tuple(maps.shape[-2:]), stand_in(e, self.baseline)[e.owner]
        units = self.values(maps).shape[1]
        heights, current = [e.scores(e.logits(), "probability").double()], e
        lost = torch.zeros(len(maps), dtype=torch.bool, device=maps.device)
        deleted = torch.zeros(len(maps), units, dtype=torch.bool, device=maps.device)
        for step, amount in enumerate(removal_counts(units, self.steps)[1:-1]):
            if step:
                maps = again(current)
            places = self.places(e, maps, self.order)
            # What is deleted already comes first, so it stays deleted.
            deleted = inverse_orders(torch.where(deleted, places - units, places).argsort(1)) < amount
            finite = maps.flatten(1).isfinite().all(1)
            lost |= ~finite & ~without_logits(current, maps)
            current = e.at(torch.where(self.per_pixel(deleted, size)[:, None], blank, e.inputs))
            heights.append(torch.where(finite, current.scores(current.logits(), "probability").double(), torch.nan))
        return torch.stack(heights, 1), lost

    def _scores(self, maps: Tensor, heights: Tensor, lost: Tensor) -> Scores:
        """Scores of curves (P, steps) of the network; lost (P,) bool: where a map on the way is to blame for a gap."""
        scores = status_of(
            incremental_deletion_score(heights, self.order),
            self.without_order(maps) | lost,
            ~heights.isfinite().all(1) & ~lost,
        )
        return replace(scores, also={"tied": tied_scores(self.values(maps))})
