"""Model similarity: how much do the target's probabilities, and the Grad-CAM maps, of two models differ?

Hesse, Schaub-Meyer, Roth, NeurIPS 2024, to see that fine-tuning on deletions hardly changes a model. There is no
attribution method.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attribution.cam import grad_cam
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.maps import to_map
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Protocol, Scores, status_of
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices
from xaibench.protocols.statistics import min_max


def softmax_difference(probabilities: Tensor, others: Tensor) -> Tensor:
    """The absolute difference |p - q| of the target's probabilities in two models.

    Args:
        probabilities: (P,) floating.
        others: (P,).

    Returns:
        (P,) float64 in [0, 1], lower is more alike; NaN where either is not finite. The paper reports the mean.

    Examples:
        >>> import torch
        >>> from xaibench.functional import softmax_difference
        >>> softmax_difference(torch.tensor([0.75]), torch.tensor([0.5])).tolist()
        [0.25]

    Source: Hesse, Schaub-Meyer, Roth, Benchmarking the Attribution Quality of Vision Models, NeurIPS 2024.
    """
    difference = (probabilities.double() - others.double()).abs()
    return torch.where(difference.isfinite(), difference, torch.nan)


def map_difference(maps: Tensor, others: Tensor) -> Tensor:
    """The mean over pixels of |a - b|, a and b being two maps, each scaled to [0, 1] by its own minimum and maximum.

    Args:
        maps: (P, 1, H, W), any floating dtype.
        others: (P, 1, H, W).

    Returns:
        (P,) float64 in [0, 1], lower is more alike; NaN where either map is constant or not finite.

    Examples:
        >>> import torch
        >>> from xaibench.functional import map_difference
        >>> map_difference(torch.tensor([[[[0.0, 1.0, 2.0]]]]), torch.tensor([[[[0.0, 2.0, 4.0]]]])).tolist()
        [0.0]

    Source: Hesse, Schaub-Meyer, Roth, Benchmarking the Attribution Quality of Vision Models, NeurIPS 2024 (of
    Grad-CAM).
    """
    return (min_max(maps) - min_max(others)).abs().mean(1)


@dataclass(frozen=True)
class Compared:
    """The target's probability (P,) in both models, and their Grad-CAM maps (P, 1, H, W) if both have a CAM layer."""

    probabilities: tuple[Tensor, Tensor]
    maps: tuple[Tensor, Tensor] | None


@dataclass(frozen=True)
class ModelSimilarity(Protocol):
    """Settings: target (label, or the first model's prediction), attribution_output (what Grad-CAM explains: logit,
    probability)."""

    without_method: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = True
    target: str = "label"
    attribution_output: str = "logit"

    def __post_init__(self):
        check_choices(self, target=TARGETS, attribution_output=OUTPUTS)

    @property
    def description(self) -> str:
        """Such as `label, logit`."""
        return f"{self.target}, {self.attribution_output}"

    def prepare(self, e: Evidence) -> Compared:
        """Probabilities and Grad-CAM maps in both models; raises XaibenchError without a second one."""
        if e.reference is None:
            raise XaibenchError("model-similarity compares two models; use `xaibench.run` with reference_model")
        both, size = (e, e.reference), tuple(e.images.shape[-2:])
        probabilities = tuple(side.scores(side.logits(), "probability") for side in both)
        if any(side.cam_layer is None for side in both):
            return Compared(probabilities, None)
        return Compared(probabilities, tuple(to_map(grad_cam(side), size) for side in both))

    def score(self, prepared: Compared, maps: Tensor | None) -> Scores:
        """The difference (P,) of probabilities, and `grad-cam-difference` where both models have a CAM layer.

        The first is undefined where a logit is not finite, the second where a Grad-CAM map is constant.
        """
        scores = _scores(softmax_difference(*prepared.probabilities))
        if prepared.maps is None:
            return scores
        return replace(scores, also={"grad-cam-difference": _scores(map_difference(*prepared.maps))})


def _scores(values: Tensor) -> Scores:
    return status_of(values, torch.zeros_like(values, dtype=torch.bool), values.isnan())
