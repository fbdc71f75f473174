"""Max-sensitivity: how much a map can change when the image hardly does. Yeh et al., NeurIPS 2019."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Protocol, Scores, status_of
from xaibench.protocols.curves import constant_or_not_finite
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices, check_positive, check_whole

OPPOSITE = 2.0  # the relative change from a map to its opposite


def relative_change(maps: Tensor, changed: Tensor) -> Tensor:
    """(P,) float64: Euclidean norm of changed - maps over that of maps, both (P, 1, H, W)."""
    maps, changed = maps.flatten(1).double(), changed.flatten(1).double()
    return (changed - maps).norm(dim=1) / maps.norm(dim=1)


def max_sensitivity_score(maps: Tensor, changed: Tensor) -> Tensor:
    """(P,) in [0, 2], lower is better: the largest relative change among maps of perturbed images (n, P, 1, H, W).

    2, the change to the opposite map, stands for anything above it. NaN where a changed map holds a NaN.
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
        """Scores (P,), lower is better; undefined where the map is constant, or not finite under some perturbation."""
        worst = torch.zeros(len(maps), dtype=torch.float64, device=maps.device)
        for sample in range(self.samples):  # one at a time: maps of all samples together would not fit
            changed = again(prepared.at(self.perturbed(prepared, sample)))
            worst = torch.maximum(worst, max_sensitivity_score(maps, changed[None]))
        bad_maps = constant_or_not_finite(maps) | ~worst.isfinite()
        return status_of(worst, bad_maps, torch.zeros_like(bad_maps))
