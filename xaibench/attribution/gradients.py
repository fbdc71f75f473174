"""Gradients and integrated gradients: short functions of evidence, raw attributions (P, C, H, W)."""

from __future__ import annotations

from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError


def gradient(e: Evidence) -> Tensor:
    """The gradient of the target's score (Simonyan et al. 2014); with transform "abs", Saliency."""
    return e.gradient()


def gradient_magnitude(e: Evidence) -> Tensor:
    """The absolute gradient, per channel: captum's Saliency once the channels are summed."""
    return e.gradient().abs()


def input_x_gradient(e: Evidence, samples: int = 0, sigma: float = 0.0, space: str = "encoded") -> Tensor:
    """Input x gradient (Shrikumar et al. 2016); with samples, SmoothGrad whose multiplier is the noisy input.

    space is where the noise is drawn: `encoded`, or `pixels`, in which sigma is that of pixels in [0, 1].
    """
    return e.gradient_moments(samples, sigma, space).first if samples else e.inputs * e.gradient()


def integrated_gradients(
    e: Evidence, baseline: str = "zero", steps: int = 50, samples: int = 0, sigma: float = 0.0, power: int = 1,
    space: str = "encoded",
) -> Tensor:  # fmt: skip
    """Integrated gradients (Sundararajan et al. 2017) by Gauss-Legendre quadrature, from a named baseline.

    With samples, the mean over noisy inputs (SmoothGrad); power 2 squares each sample per channel before that mean.
    space is where noise and the uniform baseline are drawn: `encoded`, or `pixels`, in which sigma is that of pixels in
    [0, 1] and the baseline an image of any pixels.
    """
    if power not in (1, 2):
        raise XaibenchError(f"power is 1 or 2, not {power}")
    moments = e.path_moments(baseline, steps, samples, sigma, space)
    return moments.second if power == 2 else moments.first
