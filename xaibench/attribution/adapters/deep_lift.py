"""DeepLift in captum: a rule for max pools that is complete and uses one image at a time, and a check of completeness.

captum's own rule spreads the contribution of a window by max_unpool, which overwrites where windows overlap (the stem
of a ResNet), and takes the gradient of the batch's first image where input and baseline agree.
"""

from __future__ import annotations

import torch
from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR
from torch import Tensor, nn
from torch.nn import functional

from xaibench.attribution.adapters.prepare import MaxPool, Prepared
from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError

# Measured in float32: at most 1.2e-6 on thirteen ReLU networks, at least 0.07 on networks with other activations.
TOLERANCE = {"float32": 0.01, "float64": 1e-6}


def max_pool(
    module: nn.Module, inputs: Tensor, outputs: Tensor, grad_input: Tensor, grad_output: Tensor, eps: float = 1e-10
) -> Tensor:
    """Multipliers (2N, C, H, W) of a max pool's input, for images and their baselines stacked on dimension 0.

    The rule is captum's: with m the larger of the two outputs of a window, m - output(baseline) goes to the image's
    largest pixel and output(image) - m to the baseline's. Overlapping windows add up.
    """
    with torch.no_grad():
        image, base = inputs.chunk(2)
        out, out_base = outputs.chunk(2)
        larger = torch.maximum(out, out_base)
        gains = torch.cat([larger - out_base, out - larger]) * grad_output
    with torch.enable_grad():
        at = inputs.detach().requires_grad_()
        pooled = functional.max_pool2d(
            at, module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode
        )
        (spread,) = torch.autograd.grad(pooled, at, gains)
    difference = torch.cat([image - base] * 2)
    total = sum(spread.chunk(2)).repeat(2, 1, 1, 1)
    flat = difference.abs() < eps
    return torch.where(flat, grad_input, total / torch.where(flat, torch.ones_like(difference), difference))


SUPPORTED_NON_LINEAR[MaxPool] = max_pool


def check(net: Prepared) -> None:
    """Raises XaibenchError where DeepLift does not explain the score, which must be a logit."""
    if net.explains != "logit":
        raise XaibenchError(
            "explains logits, not probabilities: with a softmax or sigmoid behind it, it is not complete"
        )


def width(net: Prepared) -> int:
    """Inputs per pair in a pass; 0 where captum's rules use other images of the batch."""
    across = (nn.Softmax, nn.MaxPool1d, nn.MaxPool3d)
    return 0 if any(isinstance(module, across) for module in net.modules()) else 2


def check_completeness(e: Evidence, net: Prepared, attributions: Tensor, baselines: Tensor) -> None:
    """Raises XaibenchError unless attributions add up to logit(image) - logit(baseline), the mean over baselines."""
    worst = float(completeness_error(e, net, attributions, baselines).max())
    if not worst <= TOLERANCE.get(e.runner.precision, 0.1):
        raise XaibenchError(
            "needs attributions that add up to the difference of the logits, which holds for ReLU networks; here they "
            f"miss it by {100 * worst:.3g} %"
        )


def completeness_error(e: Evidence, net: Prepared, attributions: Tensor, baselines: Tensor) -> Tensor:
    """(P,) how far the sums are from logit(image) - logit(baseline), relative to the largest such difference of any
    class (and a thousandth of the largest logit, for networks to which all images are the same)."""
    with torch.no_grad():
        change = (e.logits() - net(baselines).mean(0)).double()
    scale = change.abs().amax(1) + 1e-3 * e.logits().double().abs().amax(1)
    sums = attributions.double().flatten(1).sum(1)
    return (sums - e.scores(change)).abs() / scale[e.owner]
