"""B-cos networks' own explanation: the contribution of each pixel to a logit. Böhle et al. 2024.

Such a network is linear in its input if its dynamic weights (cosines, attention, standard deviations) are constant:
modules with a method `set_explanation_mode`, as those of the package `bcos`, detach them from the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.models.modes import evaluating


def contributions(e: Evidence) -> Tensor:
    """(P, C, H, W): input x gradient of the target's logit, with the dynamic weights held constant.

    Its sum over channels and pixels is the logit minus its bias and minus the contribution of a position embedding.
    Raises XaibenchError for networks that are not B-cos, and where probabilities are explained, which are not linear.
    """
    if e.output != "logit":
        raise XaibenchError("explains logits, not probabilities: contributions add up to a logit")
    with held(e.runner.net):
        return e.inputs * e.gradient_at(e.inputs)


def true_contributions(net: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The same contributions (N, C, H, W) for training: their gradient is the true gradient of the map.

    inputs (N, C, H, W) are encoded, targets (N,) class indices. With detached weights the dependence of the map on the
    parameters through them would be lost; here they stay in the graph, and only the gradient that makes the map does
    not pass through them. The network is in evaluation mode meanwhile, as when it is explained. Raises XaibenchError
    for networks that are not B-cos.
    """
    with evaluating(net), torch.enable_grad(), constant_once(net):
        at = inputs.detach().requires_grad_()
        logits = net(at.clone())
        score = logits.gather(1, targets.to(logits.device)[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, at, create_graph=True)
    return inputs * gradient


@contextmanager
def held(net: nn.Module) -> Iterator[None]:
    """Holds the dynamic weights of a network constant; raises XaibenchError where it has none."""
    modules = [module for module in net.modules() if hasattr(module, "set_explanation_mode")]
    if not modules:
        raise XaibenchError("needs a B-cos network, whose modules have a method set_explanation_mode")
    try:
        for module in modules:
            module.set_explanation_mode(True)
        yield
    finally:
        for module in modules:
            module.set_explanation_mode(False)


@contextmanager
def constant_once(net: nn.Module) -> Iterator[None]:
    """While active, gradients treat the dynamic weights of a network as constant; later gradients of what was computed
    here pass through them. Raises XaibenchError where the network has none."""
    switch = _Switch()
    try:
        with held(net), switch:
            yield
    finally:
        switch.passing = True


class _Switch(TorchFunctionMode):
    """While active, `detach` leaves a tensor in the graph; its gradient passes only when `passing` is true."""

    def __init__(self) -> None:
        super().__init__()
        self.passing = False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.detach:
            return _Gate.apply(args[0], self)
        return func(*args, **(kwargs or {}))


class _Gate(torch.autograd.Function):
    """The identity, whose gradient passes only if the switch is on."""

    @staticmethod
    def forward(ctx, tensor: Tensor, switch: _Switch) -> Tensor:
        ctx.switch = switch
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, None]:
        return (gradient if ctx.switch.passing else None), None
