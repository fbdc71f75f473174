"""zennit's composite as a method: the numbers that zennit gave alone, and networks that it has no rules for.

These need the package (extra `zennit`), which the tests do not install: it is LGPL. Without it all but the last skip.
"""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn

import xaibench
from xaibench import registry
from xaibench.attribution.methods import choose_methods, lacking_package, method_maps
from xaibench.errors import XaibenchError

NAME = "lrp-epsilon-plus-flat"
with_zennit = pytest.mark.skipif(importlib.util.find_spec("zennit") is None, reason="the extra zennit is not installed")
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@with_zennit
def test_maps_are_those_of_zennit_alone(oracles, deviation):
    net = oracles.small_cnn()
    net[1].inplace = net[4].inplace = True  # what zennit alone refuses
    maps = xaibench.attribute(net, oracles.images(), oracles.TARGETS, NAME)
    assert deviation(maps, oracles.recorded()["epsilon plus flat"]) < 1e-6 and net[1].inplace


@with_zennit
@pytest.mark.parametrize("name", ["vgg11_bn", "resnet18", "squeezenet1_1"])
def test_without_biases_relevance_adds_up_to_one_and_the_network_is_left_as_it_was(name):
    import torchvision

    torch.manual_seed(0)
    net = getattr(torchvision.models, name)(num_classes=7).double().eval()
    for key, tensor in net.named_parameters():
        if key.endswith("bias"):
            tensor.data.zero_()
    state, images = {k: v.clone() for k, v in net.state_dict().items()}, IMAGES.double()
    logits = net(images)
    maps = xaibench.attribute(net, images, [1, 2], NAME, epsilon=1e-12, stabilizer=1e-12)
    assert torch.allclose(maps.sum((1, 2, 3)), torch.ones(2, dtype=torch.float64), atol=1e-3)
    assert torch.equal(net(images), logits)
    assert all(torch.equal(tensor, state[key]) for key, tensor in net.state_dict().items())


class Doubled(nn.Module):
    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return x + self.layer(x)


class Standardised(nn.Conv2d):
    """A convolution with weights whose mean is 0."""

    def forward(self, x):
        return self._conv_forward(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


@with_zennit
def test_networks_whose_relevance_would_be_wrong_are_refused():
    conv = nn.Conv2d(3, 3, 3, padding=1)
    ends = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)
    moved = nn.BatchNorm2d(3)
    moved.running_mean += 1
    for net, message in (
        (nn.Sequential(conv, Doubled(nn.Conv2d(3, 3, 1)), *ends), "computes add outside of modules"),
        (nn.Sequential(conv, same := nn.Conv2d(3, 3, 1), nn.ReLU(), same, *ends), "runs one Conv2d more than once"),
        (nn.Sequential(conv, Standardised(3, 3, 1), *ends), "runs Standardised, for which zennit has no rule"),
        (nn.Sequential(conv, nn.GroupNorm(1, 3), *ends), "runs GroupNorm, for which zennit has no rule"),
        (nn.Sequential(conv, nn.ReLU(), moved, *ends), "has a BatchNorm that does not follow a linear layer"),
    ):
        with pytest.raises(XaibenchError, match=message) as caught:
            xaibench.attribute(net.eval(), IMAGES, [1, 2], NAME)
        assert "\n" not in str(caught.value)


@with_zennit
def test_it_explains_logits_only(oracles, evidence):
    e = evidence(oracles.small_cnn(), oracles.images(), oracles.TARGETS, output="probability")
    with pytest.raises(XaibenchError, match="zennit's EpsilonPlusFlat explains logits only"):
        method_maps(registry.card("method", NAME), e, {})


def test_without_the_package_the_method_is_left_out_and_named_in_one_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    cards, skipped = choose_methods(["all"], "net", "cnn", True)
    assert NAME not in {card.name for card in cards} and "pip install 'xaibench[zennit]'" in skipped[NAME]
    with pytest.raises(XaibenchError, match=r"method lrp-epsilon-plus-flat needs the package zennit: pip install"):
        choose_methods([NAME], "net", "cnn", True)
    assert lacking_package(registry.card("method", "ixg")) is None
