"""Networks without a bias: input x gradient is integrated gradients from a zero baseline, and complete at any depth."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from xaibench import registry
from xaibench.attribution.methods import method_maps
from xaibench.models.bias_free import x_resnet50
from xaibench.models.fixup import build

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier

STAGES = registry.card("model", "x_resnet50").stages
TARGETS = torch.tensor([2, 0])


def randomised(net: nn.Module) -> nn.Module:
    """In double precision, with weights that let every branch count."""
    torch.manual_seed(0)
    for name, parameter in net.named_parameters():
        if parameter.ndim == 1 or name.endswith("conv3.weight") or name == "fc.weight":
            nn.init.normal_(parameter, 0, 0.05)
    return net.double().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    return randomised(x_resnet50(4))


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def maps(net: nn.Module, images: Tensor, evidence, method: str, **parameters) -> Tensor:
    card = registry.card("method", method)
    e = evidence(net, images, TARGETS, cam_layer=net.layer4, stages=STAGES)
    return method_maps(card, e, card.parameters | parameters)


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer", [None, *(pytest.param(n, marks=pytest.mark.process if n in ("Mid1", "Mid3") else ()) for n in STAGES)]
)
def test_input_x_gradient_is_integrated_gradients(layer, resnet, images, evidence):
    at = {"layer": layer} if layer else {}
    ixg = maps(resnet, images, evidence, "ixg", **at)
    for steps in (1, 4):
        ig = maps(resnet, images, evidence, "ig", steps=steps, **at)
        assert torch.allclose(ig, ixg, rtol=0, atol=1e-10 * float(ixg.abs().max()))


def test_input_x_gradient_sums_to_the_logit(resnet, images, evidence):
    logits = resnet(images).gather(1, TARGETS[:, None])[:, 0]
    found = maps(resnet, images, evidence, "ixg")
    assert torch.allclose(found.sum((1, 2, 3)), logits, rtol=1e-9, atol=0) and logits.abs().min() > 1e-6


@pytest.mark.slow
def test_with_scalar_biases_neither_holds(images, evidence):
    net = randomised(build(4))
    logits = net(images).gather(1, TARGETS[:, None])[:, 0]
    ixg, ig = maps(net, images, evidence, "ixg"), maps(net, images, evidence, "ig", steps=8)
    assert ((ixg.sum((1, 2, 3)) - logits) / logits).abs().min() > 1e-3
    assert (ig - ixg).abs().max() > 1e-3 * ixg.abs().max()


@pytest.mark.parametrize(("steps", "error"), [(50, 0.05), (400, 0.01)])
def test_integrated_gradients_are_complete_up_to_their_steps(steps, error, small, pictures, evidence):
    """The error that is allowed is a share of the change of the logit; ReLUs make the integrand jump."""
    card = registry.card("method", "ig")
    e = evidence(small, pictures, [1, 4, 0, 3])
    found = method_maps(card, e, card.parameters | {"steps": steps}).sum((1, 2, 3))
    rise = (small(pictures) - small(torch.zeros_like(pictures))).gather(1, torch.tensor([[1], [4], [0], [3]]))[:, 0]
    assert ((found - rise) / rise).abs().max() < error
