"""Infidelity: does the map predict how small noise on the image changes the model's output?

Yeh et al., NeurIPS 2019.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.protocols.base import Protocol, Scores, status_of
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices, check_positive, check_whole
from xaibench.protocols.statistics import constant_or_not_finite
from xaibench.seeds import generator, normal


def infidelity_score(predicted: Tensor, drops: Tensor) -> Tensor:
    """The squared error of predicting drops by a map, as a share of that of predicting no change at all.

    min over b >= 0 of mean((b predicted - drops)²) / mean(drops²). b is the scale of the map that fits best, as maps
    have no common unit. captum's `infidelity(normalize=True)` is the numerator, with b of either sign.

    Args:
        predicted: (P, samples) floating: sum of map x noise for each noise.
        drops: (P, samples): f(x) - f(x - noise).

    Returns:
        (P,) in [0, 1], lower is better. 1 says that b = 0 fits best: the map predicts nothing, or the opposite. NaN
        where all drops are 0.

    Examples:
        >>> import torch
        >>> from xaibench.functional import infidelity_score
        >>> drops = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
        >>> [round(float(infidelity_score(sign * drops, drops)), 6) for sign in (5, -1)]
        [0.0, 1.0]

    Source: Yeh, Hsieh, Suggala, Inouye, Ravikumar, On the (In)fidelity and Sensitivity of Explanations, NeurIPS 2019,
    definition 2.1; the best scale and the denominator are added here.
    """
    product = (predicted * drops).sum(1).clamp(min=0)
    cosine = product / (predicted.norm(dim=1) * drops.norm(dim=1))
    return 1 - torch.where(predicted.abs().amax(1) == 0, torch.zeros_like(cosine), cosine).square()


@dataclass(frozen=True)
class Infidelity(Protocol):
    """Settings: samples of noise, sigma (standard deviation, encoded units; the same noise on all channels, as a map
    has one), target (label, prediction), attribution_output and drop_output (logit, probability)."""

    samples: int = 64
    sigma: float = 0.1
    target: str = "label"
    attribution_output: str = "logit"
    drop_output: str = "logit"

    def __post_init__(self):
        check_choices(self, target=TARGETS, attribution_output=OUTPUTS, drop_output=OUTPUTS)
        check_whole(self, samples=2)
        check_positive(self, "sigma")

    def prepare(self, e: Evidence) -> tuple[Evidence, Tensor]:
        """The evidence, and the drops (P, samples) when noise is subtracted from the image, once for all methods."""

        def edit(image: Tensor, sample: Tensor) -> Tensor:
            drawn = [self._noise(e, i, s) for i, s in zip(image.tolist(), sample.tolist(), strict=True)]
            return e.images[image.to(e.images.device)] - torch.stack(drawn).to(e.images)

        noisy = e.logits_under(("infidelity", self.samples, self.sigma), self.samples, edit, "cpu")
        intact = e.scores(e.logits(), self.drop_output).double()
        return e, intact[:, None] - e.scores(noisy, self.drop_output).double()

    def score(self, prepared: tuple[Evidence, Tensor], maps: Tensor) -> Scores:
        """Scores (P,), lower is better, and `infidelity-raw`, the mean square of the difference with the map as it is.
        Undefined where the map is constant; the reference's fault where the output does not move."""
        e, drops = prepared
        bad_maps = constant_or_not_finite(maps)
        bad_drops = ~drops.isfinite().all(1) | (drops == 0).all(1)
        flat = torch.where(bad_maps[:, None, None, None], 0.0, maps.double())
        predicted = torch.empty_like(drops)
        for image in range(len(e.images)):
            mine = e.owner == image
            if mine.any():
                noise = torch.stack([self._noise(e, image, s) for s in range(self.samples)]).to(flat)
                predicted[mine] = flat[mine].flatten(1) @ noise.flatten(1).T
        raw = status_of((predicted - drops).square().mean(1), bad_maps, bad_drops)
        return replace(status_of(infidelity_score(predicted, drops), bad_maps, bad_drops), also={"infidelity-raw": raw})

    def _noise(self, e: Evidence, image: int, sample: int) -> Tensor:
        """(1, H, W): the noise that is subtracted from all channels of an image of the batch, on the CPU."""
        drawn = generator(e.seed, f"infidelity {sample}", e.image_ids[image])
        return self.sigma * normal(drawn, 1, *e.images.shape[-2:])
