"""Average Gain: does the model become more confident when it sees only what a map shows?

Zhang et al., CVIU 2024. The counterpart of Average Drop.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.protocols.base import Scores, status_of
from xaibench.protocols.masked_image import MaskedImage


def average_gain_score(intact: Tensor, masked: Tensor) -> Tensor:
    """The share of the way to certainty that the image times its map gains: max(0, q - p) / (1 - p).

    Args:
        intact: (P,) floating: the target's probability p of the image.
        masked: (P,): the probability q of the image times its map, scaled to [0, 1].

    Returns:
        (P,) float64 in [0, 1], higher is better; NaN where p is 1 or either is not finite. The paper reports the mean
        in percent.

    Examples:
        >>> import torch
        >>> from xaibench.functional import average_gain_score
        >>> average_gain_score(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])).tolist()
        [0.0, 0.5]

    Source: Zhang, Torres, Sicre, Avrithis, Ayache, Opti-CAM: Optimizing Saliency Maps for Interpretability, Computer
    Vision and Image Understanding 2024.
    """
    p, q = intact.double(), masked.double()
    usable = (p < 1) & p.isfinite() & q.isfinite()
    return torch.where(usable, (q - p).clamp(min=0) / torch.where(usable, 1 - p, 1.0), torch.nan)


@dataclass(frozen=True)
class AverageGain(MaskedImage):
    """The share of the missing probability that is gained when the image is multiplied by its scaled map."""

    def score(self, prepared: Evidence, maps: Tensor) -> Scores:
        """Scores (P,), higher is better, and `complexity`, the mean of the scaled map.

        A map that cannot be scaled is the method's fault; a probability of 1, or none, is nobody's.
        """
        found = self.mask(prepared, maps)
        values = average_gain_score(*self.confidences(prepared, found))
        bad_maps = found.bad_maps
        complexity = status_of(found.area, bad_maps, torch.zeros_like(bad_maps))
        return replace(status_of(values, bad_maps, values.isnan()), also={"complexity": complexity})
