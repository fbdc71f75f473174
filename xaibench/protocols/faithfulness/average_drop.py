"""Average Drop: does the model lose its confidence when it sees only what a map shows?

Chattopadhay et al., WACV 2018.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.protocols.base import Scores, status_of
from xaibench.protocols.masked_image import MaskedImage


def average_drop_score(intact: Tensor, masked: Tensor) -> Tensor:
    """The share of the target's probability that the image times its map loses: max(0, p - q) / p.

    Args:
        intact: (P,) floating: the probability p of the image.
        masked: (P,): the probability q of the image times its map, scaled to [0, 1].

    Returns:
        (P,) float64 in [0, 1], lower is better; NaN where p is 0 or either is not finite. The paper reports the mean
        in percent.

    Examples:
        >>> import torch
        >>> from xaibench.functional import average_drop_score
        >>> average_drop_score(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])).tolist()
        [0.5, 0.0]

    Source: Chattopadhay, Sarkar, Howlader, Balasubramanian, Grad-CAM++: Generalized Gradient-based Visual Explanations
    for Deep Convolutional Networks, WACV 2018.
    """
    p, q = intact.double(), masked.double()
    usable = (p > 0) & p.isfinite() & q.isfinite()
    return torch.where(usable, (p - q).clamp(min=0) / torch.where(usable, p, 1.0), torch.nan)


@dataclass(frozen=True)
class AverageDrop(MaskedImage):
    """The share of the target's probability that is lost when the image is multiplied by its scaled map."""

    def score(self, prepared: Evidence, maps: Tensor) -> Scores:
        """Scores (P,), lower is better; `increase` is 1 where the masked image has the higher probability, else 0, and
        `complexity` the mean of the scaled map: near 1, hardly anything is hidden.

        A map that cannot be scaled is the method's fault; a probability of 0, or none, is nobody's.
        """
        found = self.mask(prepared, maps)
        intact, masked = self.confidences(prepared, found)
        values = average_drop_score(intact, masked)
        bad_maps, lost = found.bad_maps, values.isnan()
        also = {
            "increase": status_of(masked > intact, bad_maps, lost),
            "complexity": status_of(found.area, bad_maps, torch.zeros_like(bad_maps)),
        }
        return replace(status_of(values, bad_maps, lost), also=also)
