"""SRG, symmetric relevance gain: how far apart are deleting the least and the most important pixels first?

Blücher, Vielhaben, Strodthoff 2024.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.protocols.base import Scores, status_of
from xaibench.protocols.curves import tied_scores
from xaibench.protocols.incremental_deletion import ORDERS, IncrementalProtocol


def symmetric_relevance_gain(least_first: Tensor, most_first: Tensor) -> Tensor:
    """mean(least_first) - mean(most_first): the area between the two curves of deletion.

    As the curves meet at both ends, this is the area between them by the trapezoid rule.

    Args:
        least_first: (P, steps) floating: probabilities after 0, 1, ..., steps - 1 of `steps` steps, the least important
            units first.
        most_first: (P, steps), the most important units first.

    Returns:
        (P,) of the dtype of the curves, in [-1, 1], higher is better; a random order scores 0 on average.

    Examples:
        >>> import torch
        >>> from xaibench.functional import symmetric_relevance_gain
        >>> symmetric_relevance_gain(torch.tensor([[1.0, 1.0, 0.5, 0.5]]), torch.tensor([[1.0, 0.5, 0.0, 0.0]]))
        tensor([0.3750])

    Source: Blücher, Vielhaben, Strodthoff, Decoupling Pixel Flipping and Occlusion Strategy for Consistent XAI
    Benchmarks, 2024.
    """
    return least_first.mean(1) - most_first.mean(1)


@dataclass(frozen=True)
class SymmetricRelevanceGain(IncrementalProtocol):
    """Settings: those of `IncrementalProtocol`. Both orders are computed, from the intact image's map."""

    def score(self, prepared: Evidence, maps: Tensor) -> Scores:
        """Gains (P,), higher is better; `least-first` and `most-first` are the two means, and `tied`."""
        least, most = (self.heights(prepared, maps, order) for order in ORDERS)
        bad_maps, bad_heights = self.without_order(maps), ~torch.cat([least, most], 1).isfinite().all(1)
        means = {"least-first": least.mean(1), "most-first": most.mean(1)}
        also = {name: status_of(mean, bad_maps, bad_heights) for name, mean in means.items()}
        scores = status_of(symmetric_relevance_gain(least, most), bad_maps, bad_heights)
        return replace(scores, also=also | {"tied": tied_scores(self.values(maps))})
