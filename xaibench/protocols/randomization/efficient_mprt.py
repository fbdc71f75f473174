"""Efficient MPRT: does a map become more complex when the model has lost all that it has learnt?

Hedström et al., 2024: one comparison, with the network all of whose layers are random, in the place of one for each
layer, and of complexities in the place of similarities. A check, not a ranking of methods.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Protocol, Scores, status_of, without_logits
from xaibench.protocols.randomization.randomization import Randomization, Randomized
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices, check_whole
from xaibench.protocols.statistics import min_max

LARGEST = 1.0  # the rise that stands for anything above it: twice as complex


def histogram_entropy(maps: Tensor, bins: int = 100) -> Tensor:
    """The complexity of maps: the entropy of the histogram of their values.

    Args:
        maps: (P, 1, H, W), any floating dtype.
        bins: how many bins of equal width the range of a map's values is divided into.

    Returns:
        (P,) float64 in nats, from 0 to ln(bins): 0 for a constant map, NaN for one that is not finite. Scaling and
        shifting a map changes nothing.

    Examples:
        >>> import torch
        >>> from xaibench.functional import histogram_entropy
        >>> histogram_entropy(torch.tensor([[[[0.0, 1.0, 0.1, 0.9]]]]), bins=2).round(decimals=6).tolist()
        [0.693147]

    Source: Hedström, Weber, Lapuschkin, Höhne, Sanity Checks Revisited: An Exploration to Repair the Model Parameter
    Randomisation Test, 2024; 100 bins is the default of Quantus' `discrete_entropy`.
    """
    places = (min_max(maps).nan_to_num(0) * bins).long().clamp(max=bins - 1)
    counts = torch.zeros(len(maps), bins, dtype=torch.float64, device=maps.device)
    shares = counts.scatter_add_(1, places, torch.ones_like(places, dtype=torch.float64)) / places.shape[1]
    entropy = torch.special.entr(shares).sum(1)
    return torch.where(maps.flatten(1).isfinite().all(1), entropy, torch.nan)


def complexity_rise_score(trained: Tensor, random: Tensor) -> Tensor:
    """The relative rise of the complexity from the trained to the random network: (random - trained) / trained.

    Args:
        trained: (P,) floating: the complexity of the map of the trained network, see `histogram_entropy`.
        random: (P,): that of the map of the network whose layers are all random.

    Returns:
        (P,) float64, at least -1, higher is better; 0 for a map that does not depend on the network, NaN where the
        first complexity is 0 or either is not finite.

    Examples:
        >>> import torch
        >>> from xaibench.functional import complexity_rise_score
        >>> complexity_rise_score(torch.tensor([2.0, 2.0]), torch.tensor([3.0, 2.0])).tolist()
        [0.5, 0.0]

    Source: Hedström, Weber, Lapuschkin, Höhne, Sanity Checks Revisited: An Exploration to Repair the Model Parameter
    Randomisation Test, 2024.
    """
    before, after = trained.double(), random.double()
    usable = (before > 0) & before.isfinite() & after.isfinite()
    return torch.where(usable, (after - before) / torch.where(usable, before, 1.0), torch.nan)


@dataclass(frozen=True)
class EfficientMprt(Protocol):
    """Settings: bins of the histogram; target (label, prediction) and attribution_output (logit, probability)."""

    bins: int = 100
    target: str = "label"
    attribution_output: str = "logit"

    def __post_init__(self):
        check_choices(self, target=TARGETS, attribution_output=OUTPUTS)
        check_whole(self, bins=2)

    def prepare(self, e: Evidence) -> Randomized:
        """Evidence through the random network, which is that of the last stage of `randomization`."""
        return Randomization(stages=1).prepare(e)

    def score(self, prepared: Randomized, maps: Tensor) -> Scores:
        """Raises XaibenchError: maps of the random network are needed."""
        raise XaibenchError("efficient-mprt explains a random network: it needs the method, not only its maps")

    def score_method(self, prepared: Randomized, maps: Tensor, again: Callable[[Evidence], Tensor]) -> Scores:
        """Relative rises (P,), at most 1, higher is better; the rise without this limit, which is the paper's number,
        and both complexities are further metrics. Undefined where the map is constant, or either is not finite, which
        is nobody's fault where the logits of the random network are not."""
        (stage,) = prepared.stages
        random_maps = prepared.stage_maps(stage, again)
        entropies = [histogram_entropy(each, self.bins) for each in (maps, random_maps)]
        rise = complexity_rise_score(*entropies)
        lost = without_logits(stage, random_maps)
        bad_maps = rise.isnan()  # of a constant map too, whose entropy is 0
        further = {"relative-rise": rise, "entropy-trained": entropies[0], "entropy-random": entropies[1]}
        also = {name: status_of(values, bad_maps, lost) for name, values in further.items()}
        return replace(status_of(rise.clamp(max=LARGEST), bad_maps, lost), also=also)
