"""Max-sensitivity: how much can a map change under a small change of the image? Yeh et al., NeurIPS 2019."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Protocol, Scores, status_of, without_logits
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices, check_positive, check_whole
from xaibench.protocols.statistics import constant_or_not_finite

OPPOSITE = 2.0  # the relative change from a map to its opposite


def relative_change(maps: Tensor, changed: Tensor) -> Tensor:
    """The relative change of maps: the Euclidean norm of (changed - maps) over that of maps.

    Args:
        maps: (P, 1, H, W), any floating dtype.
        changed: (P, 1, H, W): the maps of perturbed images.

    Returns:
        (P,) float64, at least 0.

    Examples:
        >>> import torch
        >>> from xaibench.functional import relative_change
        >>> maps = torch.tensor([[[[3.0, 4.0]]]])
        >>> relative_change(maps, -maps).tolist()
        [2.0]
    """
    maps, changed = maps.flatten(1).double(), changed.flatten(1).double()
    return (changed - maps).norm(dim=1) / maps.norm(dim=1)


def max_sensitivity_score(maps: Tensor, changed: Tensor) -> Tensor:
    """Max-sensitivity: the largest relative change of a map under perturbations of the image, at most 2.

    max over n of |changed[n] - maps| / |maps|. 2, the change to the opposite map, stands for anything above it.

    Args:
        maps: (P, 1, H, W), any floating dtype.
        changed: (n, P, 1, H, W): the maps of n perturbed images.

    Returns:
        (P,) float64 in [0, 2], lower is better; NaN where a changed map holds a NaN.

    Examples:
        >>> import torch
        >>> from xaibench.functional import max_sensitivity_score
        >>> maps = torch.tensor([[[[3.0, 4.0]]]])
        >>> max_sensitivity_score(maps, torch.stack([maps, 1.5 * maps])).tolist()
        [0.5]

    Source: Yeh, Hsieh, Suggala, Inouye, Ravikumar, On the (In)fidelity and Sensitivity of Explanations, NeurIPS 2019
    (max-sensitivity; the division by the map's norm and the limit 2 are added here).
    """
    return torch.stack([relative_change(maps, one) for one in changed]).amax(0).clamp(max=OPPOSITE)


@dataclass(frozen=True)
class MaxSensitivity(Protocol):
    """Settings: radius of the perturbation (each value of the image moves by U(-radius, radius), encoded units),
    samples of it, target (label, prediction) and attribution_output (logit, probability)."""

    radius: float = 0.02
    samples: int = 10
    target: str = "label"
    attribution_output: str = "logit"

    def __post_init__(self):
        check_choices(self, target=TARGETS, attribution_output=OUTPUTS)
        check_whole(self, samples=1)
        check_positive(self, "radius")

    def prepare(self, e: Evidence) -> Evidence:
        """The evidence itself."""
        return e

    def perturbed(self, e: Evidence, sample: int) -> Tensor:
        """Each pair's image (P, C, H, W) under perturbation number `sample`, the same for all methods."""
        drawn = e.random(f"max-sensitivity {sample}", e.images.shape[1:], torch.rand)
        return (e.images + self.radius * (2 * drawn - 1))[e.owner]

    def score(self, prepared: Evidence, maps: Tensor) -> Scores:
        """Raises XaibenchError: maps of other images are needed."""
        raise XaibenchError("max-sensitivity explains perturbed images: it needs the method, not only its maps")

    def score_method(self, prepared: Evidence, maps: Tensor, again: Callable[[Evidence], Tensor]) -> Scores:
        """Scores (P,), lower is better; undefined where the map is constant, or not finite under some perturbation,
        which is the network's fault where its logits are not."""
        worst = torch.zeros(len(maps), dtype=torch.float64, device=maps.device)
        lost = torch.zeros(len(maps), dtype=torch.bool, device=maps.device)
        for sample in range(self.samples):  # one at a time: maps of all samples together would not fit
            perturbed = prepared.at(self.perturbed(prepared, sample))
            changed = again(perturbed)
            lost |= without_logits(perturbed, changed)
            worst = torch.maximum(worst, max_sensitivity_score(maps, changed[None]))
        bad_maps = constant_or_not_finite(maps) | ~worst.isfinite()
        return status_of(worst, bad_maps, lost)
