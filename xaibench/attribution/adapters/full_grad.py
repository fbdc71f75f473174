"""FullGrad in pytorch-grad-cam: whether the biases that it reads are all that there are.

Srinivas & Fleuret, NeurIPS 2019, proposition 1: of a network that is linear in pieces, a logit is the sum of input x
gradient and of bias x gradient of all layers. The package reads biases of `nn.Conv2d` and `nn.BatchNorm2d`, not those
of other layers (nor of subclasses, as timm's batch normalisations with an activation function), and has no term for
activation functions that are not linear in pieces.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xaibench.attribution.adapters.prepare import Prepared
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.reach import uncounted
from xaibench.errors import XaibenchError
from xaibench.models.passes import observed
from xaibench.seeds import generator, normal

TOLERANCE = 0.1  # of the length of the logits, as for the completeness of DeepLift
IMAGES = 4  # of noise, each with weights of its own: one sum may be right by chance


def check_biases(e: Evidence, net: Prepared) -> None:
    """Raises XaibenchError unless input x gradient and bias x gradient of the layers that the package reads, and of
    linear layers without positions, make up the logits; tried once for the network, on noise."""
    key = ("full gradient",)
    if key not in e.runner.memo:
        noise = normal(generator(0, "noise for full gradients"), IMAGES, *e.images.shape[1:]).to(e.images)
        with uncounted(e.runner):
            e.runner.memo[key] = missing(net, noise)
    share = e.runner.memo[key]
    if share > TOLERANCE:
        raise XaibenchError(
            "needs logits that are the sum of input x gradient and bias x gradient of convolutions and batch "
            f"normalisations, which holds for ReLU networks of these; here they miss it by {100 * share:.3g} %"
        )


def missing(net: nn.Module, images: Tensor) -> float:
    """How far the sum of all terms is from a sum of the logits of images (n, C, H, W) with random weights, relative to
    the size that such sums have: the largest for an image."""
    given: list[tuple[nn.Module, Tensor]] = []

    def note(module: nn.Module, args: tuple, output: object) -> None:
        if _is_read(module) or (type(module) is nn.Linear and module.bias is not None and output.ndim == 2):
            given.append((module, output))

    at = images.detach().requires_grad_()
    with observed(net, note), torch.enable_grad():
        logits = net(at)
    weights = normal(generator(0, "weights of logits"), *logits.shape).to(logits)
    outputs = [output for _, output in given if output.requires_grad]
    gradients = torch.autograd.grad((logits * weights).sum(), [at, *outputs], materialize_grads=True, allow_unused=True)
    terms = (at.detach() * gradients[0]).flatten(1).sum(1).double()
    read = [module for module, output in given if output.requires_grad]
    for module, gradient in zip(read, gradients[1:], strict=True):
        bias = _bias(module)
        terms += (gradient.sum((2, 3)) if gradient.ndim == 4 else gradient).double() @ bias
    logits = logits.detach()
    error = (terms - (logits * weights).double().sum(1)).abs()
    return float((error / (logits.double().norm(dim=1) + 1e-12)).max())


def _is_read(module: nn.Module) -> bool:
    """Whether the package reads the bias of a module."""
    return type(module) in (nn.Conv2d, nn.BatchNorm2d) and module.bias is not None


def _bias(module: nn.Module) -> Tensor:
    """(K,) the constant that a module adds to each channel, in double precision."""
    if not isinstance(module, nn.BatchNorm2d):
        return module.bias.detach().double()
    slope = module.weight.double() / (module.running_var.double() + module.eps).sqrt()
    return (module.bias.double() - slope * module.running_mean.double()).detach()
