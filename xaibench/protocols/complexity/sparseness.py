"""Sparseness: does a map point at few pixels or at many? Chalasani et al., ICML 2020."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.protocols.base import Protocol, Scores, status_of
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices
from xaibench.protocols.statistics import constant_or_not_finite


def sparseness_score(maps: Tensor) -> Tensor:
    """The Gini index of the absolute values of maps.

    sum over i = 1..n of (2 i - n - 1) a_i / (n sum a), the a_i ascending: the mean absolute difference of two values
    over twice their mean.

    Args:
        maps: (P, 1, H, W), any real dtype.

    Returns:
        (P,) float64 in [0, 1), higher is sparser: 0 where all values are equal, near 1 where one pixel has everything.
        NaN where all values are 0.

    Examples:
        >>> import torch
        >>> from xaibench.functional import sparseness_score
        >>> sparseness_score(torch.tensor([[[[0.0, 0.0, 0.0, -8.0]]], [[[1.0, 1.0, 1.0, 1.0]]]])).tolist()
        [0.75, 0.0]

    Source: Chalasani, Chen, Chowdhury, Jha, Wu, Concise Explanations of Neural Networks using Adversarial Training,
    ICML 2020.
    """
    values = maps.flatten(1).double().abs().sort(1).values
    n = values.shape[1]
    weights = 2 * torch.arange(1, n + 1, dtype=torch.float64, device=values.device) - n - 1
    return ((values @ weights) / (n * values.sum(1))).clamp(min=0)


@dataclass(frozen=True)
class Sparseness(Protocol):
    """Settings: target (label, prediction) and attribution_output (logit, probability)."""

    target: str = "label"
    attribution_output: str = "logit"

    def __post_init__(self):
        check_choices(self, target=TARGETS, attribution_output=OUTPUTS)

    def prepare(self, e: Evidence) -> None:
        """Nothing: only the maps count."""

    def score(self, prepared: None, maps: Tensor) -> Scores:
        """Gini indices (P,); undefined where the map is constant or not finite."""
        bad_maps = constant_or_not_finite(maps)
        return status_of(sparseness_score(maps), bad_maps, torch.zeros_like(bad_maps))
