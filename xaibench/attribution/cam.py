"""Class activation maps: short functions of evidence, raw maps (P, 1, h, w) at the resolution of the CAM layer.

A are activations and g gradients of the target's score there, both (P, K, h, w); sums without an index run over space.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence

SPACE = (2, 3)


def _weighted(weights: Tensor, activations: Tensor) -> Tensor:
    """relu of the sum over channels of weights x activations."""
    return torch.relu((weights * activations).sum(1, keepdim=True))


def _space_sum(x: Tensor) -> Tensor:
    return x.sum(SPACE, keepdim=True)


def grad_cam(e: Evidence) -> Tensor:
    """Selvaraju et al. 2017: a channel's weight is the spatial mean of its gradient."""
    stage = e.activations_and_gradients()
    return _weighted(stage.gradients.mean(SPACE, keepdim=True), stage.activations)


def grad_cam_plus_plus(e: Evidence) -> Tensor:
    """Chattopadhay et al. 2018, exponential output: weight = sum alpha relu(g), alpha = g² / (2 g² + g³ sum A).

    For g > 0, and only those count, alpha is 1 / (2 + g sum A): no epsilon, and no 0/0 where gradients are tiny.
    """
    a, g = e.activations_and_gradients().activations, e.activations_and_gradients().gradients
    return _weighted(_space_sum(_ratio(torch.relu(g), 2 + g * _space_sum(a))), a)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient; 0 where the denominator vanishes: without gradients, or with negative activations."""
    return torch.where(denominator == 0, torch.zeros_like(denominator), numerator / denominator)


def grad_cam_plus_plus_torchcam(e: Evidence) -> Tensor:
    """torchcam 0.4.0, behind the published IDSDS numbers: alpha is g², never divided, the weight sum relu(g)³."""
    stage = e.activations_and_gradients()
    return _weighted(_space_sum(torch.relu(stage.gradients) ** 3), stage.activations)


def smooth_grad_cam_plus_plus(e: Evidence, samples: int = 4, sigma: float = 0.3, space: str = "encoded") -> Tensor:
    """Omeiza et al. 2019: Grad-CAM++ with g, g² and g³ each averaged over noisy inputs, A of the clean input.

    space is where the noise is drawn: `encoded`, or `pixels`, in which sigma is that of pixels in [0, 1].
    """
    a = e.activations_and_gradients().activations
    gradients = [e.activations_and_gradients(k, sigma, space).gradients for k in range(samples)]
    first, second, third = (sum(g**power for g in gradients) / samples for power in (1, 2, 3))
    alpha = _ratio(second, 2 * second + third * _space_sum(a))
    return _weighted(_space_sum(alpha * torch.relu(first)), a)


def smooth_grad_cam_plus_plus_torchcam(e: Evidence, samples: int = 4, sigma: float = 0.3) -> Tensor:
    """torchcam 0.4.0: alpha = g2 / (2 g2 + sum(g3 A) + 1e-8), gradient and activation of the LAST sample."""
    a, last = e.activations_and_gradients().activations, e.activations_and_gradients(samples - 1, sigma)
    gradients = [e.activations_and_gradients(k, sigma).gradients for k in range(samples)]
    second, third = (sum(g**power for g in gradients) / samples for power in (2, 3))
    alpha = second / (2 * second + _space_sum(third * a) + 1e-8)
    return _weighted(_space_sum(alpha * torch.relu(last.gradients)), last.activations)


def xgrad_cam(e: Evidence) -> Tensor:
    """Fu et al. 2020: a channel's weight is sum(g A) / sum(A)."""
    a, g = e.activations_and_gradients().activations, e.activations_and_gradients().gradients
    return _weighted(_space_sum(g * a) / (_space_sum(a) + 1e-8), a)


def layer_cam(e: Evidence) -> Tensor:
    """Jiang et al. 2021: every position has its own weight, relu(g)."""
    stage = e.activations_and_gradients()
    return _weighted(torch.relu(stage.gradients), stage.activations)
