"""ADCC: the harmonic mean of coherency, simplicity and kept confidence. Poppi et al., CVPR workshops 2021.

Coherency asks whether the method finds the same again in the image times its map, so the method explains that, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.protocols.base import UNDEFINED_REFERENCE, Scores, status_of, without_logits
from xaibench.protocols.faithfulness.average_drop import average_drop_score
from xaibench.protocols.masked_image import Masked, MaskedImage, scaled_map
from xaibench.protocols.statistics import pearson


def coherency_score(maps: Tensor, again: Tensor) -> Tensor:
    """How well a map agrees with the map of the image times it: Pearson's correlation over pixels, brought to [0, 1].

    (r + 1) / 2

    Args:
        maps: (P, 1, H, W), any floating dtype: maps of the images.
        again: (P, 1, H, W): the method's maps of the images times their scaled maps.

    Returns:
        (P,) float64 in [0, 1], higher is better; 0.5 for maps that are unrelated, NaN where either is constant or not
        finite.

    Examples:
        >>> import torch
        >>> from xaibench.functional import coherency_score
        >>> maps = torch.tensor([[[[0.0, 1.0, 2.0]]]])
        >>> coherency_score(maps, 3 * maps).round(decimals=6).tolist()
        [1.0]

    Source: Poppi, Cornia, Baraldi, Cucchiara, Revisiting the Evaluation of Class Activation Mapping for
    Explainability, CVPR workshops 2021.
    """
    return (pearson(maps.flatten(1), again.flatten(1)) + 1) / 2


def adcc_score(coherency: Tensor, complexity: Tensor, kept: Tensor) -> Tensor:
    """The harmonic mean of coherency, 1 - complexity and what is kept: 3 / (1/a + 1/b + 1/c), 0 where one of them is 0.

    Args:
        coherency: (P,) floating in [0, 1], see `coherency_score`.
        complexity: (P,) in [0, 1]: the mean of the scaled map.
        kept: (P,) in [0, 1]: 1 - average drop for ADCC, the doubled positive part of ROAD for ARCC.

    Returns:
        (P,) float64 in [0, 1], higher is better; NaN where one of them is NaN.

    Examples:
        >>> import torch
        >>> from xaibench.functional import adcc_score
        >>> adcc_score(torch.tensor([1.0]), torch.tensor([0.5]), torch.tensor([0.25])).round(decimals=6).tolist()
        [0.428571]

    Source: Poppi, Cornia, Baraldi, Cucchiara, Revisiting the Evaluation of Class Activation Mapping for
    Explainability, CVPR workshops 2021.
    """
    parts = torch.stack([coherency.double(), 1 - complexity.double(), kept.double()])
    return 3 / (1 / parts).sum(0)


@dataclass(frozen=True)
class Adcc(MaskedImage):
    """The harmonic mean of coherency, 1 - complexity and 1 - average drop. Settings are those of `MaskedImage`."""

    def score(self, prepared: Evidence, maps: Tensor) -> Scores:
        """Raises XaibenchError: maps of the masked images are needed."""
        raise XaibenchError("masked images are explained: the method is needed, not only its maps; use `xaibench.run`")

    def score_method(self, prepared: Evidence, maps: Tensor, again: Callable[[Evidence], Tensor]) -> Scores:
        """Scores (P,), higher is better, and the three parts, of which complexity and average drop are better low.

        A map that cannot be scaled, or whose masked image has such a map, is the method's fault: the published code
        counts 0 there. A masked image without finite logits, and a probability of 0, are nobody's.
        """
        masked = self.mask(prepared, maps)
        shown = prepared.at(masked.images)
        second = again(shown)
        coherency = coherency_score(masked.masks, scaled_map(second, self.scaling))
        lost, none = without_logits(shown, second), torch.zeros_like(masked.bad_maps)
        name, part, kept = self.kept(prepared, maps, masked)
        bad_maps = masked.bad_maps | coherency.isnan()
        values = adcc_score(coherency, masked.area, kept)
        also = {
            "coherency": status_of(coherency, bad_maps, lost),
            "complexity": status_of(masked.area, masked.bad_maps, none),
            name: part,
        }
        unknown = torch.tensor([status == UNDEFINED_REFERENCE for status in part.status], device=maps.device)
        return replace(status_of(values, bad_maps, lost | unknown), also=also)

    def kept(self, e: Evidence, maps: Tensor, masked: Masked) -> tuple[str, Scores, Tensor]:
        """The third part: the name of its metric, its scores, and a share (P,) in [0, 1] of these, high where good."""
        drop = average_drop_score(*self.confidences(e, masked))
        return "average-drop", status_of(drop, masked.bad_maps, drop.isnan()), 1 - drop
