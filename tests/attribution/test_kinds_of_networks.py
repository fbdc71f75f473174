"""Networks that libraries must explain through a copy: those that look at their own modules, those whose weights are
computed, and others. Each is compared with an equivalent network that does neither."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune

import xaibench
from xaibench import registry

pytestmark = pytest.mark.filterwarnings("ignore:.*(spectral|weight)_norm.*:FutureWarning")
METHODS = ["guided-backprop", "deconvolution", "deeplift", "guided-grad-cam", "layer-cam", "hires-cam", "full-grad",
           "ablation-cam", "score-cam", "eigen-cam", "gradient-shap", "feature-ablation"]  # fmt: skip


def body() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2), nn.Conv2d(5, 6, 3), nn.ReLU(),
        nn.MaxPool2d(2, 1),
    )  # fmt: skip


class Plain(nn.Module):
    """Runs its layers one after the other."""

    def __init__(self):
        super().__init__()
        self.features, self.head = body(), nn.Linear(6, 5)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


class Curious(Plain):
    """Asks its own modules, in a pass, for whatever public code has been seen to ask for."""

    def forward(self, x):
        features = self.features
        assert isinstance(features, nn.Sequential) and len(features) == 7
        x = x.to(features[0].weight.dtype).to(next(features[4].parameters()).device)
        for index, layer in enumerate(features[:3]):
            x = layer.forward(x) if index == 2 else layer(x)
            if isinstance(layer, nn.ReLU):
                assert layer.inplace and index == 2 and type(layer) is nn.ReLU and repr(layer) == "ReLU(inplace=True)"
        for name, layer in features.named_children():
            if int(name) < 3:
                continue
            if isinstance(layer, nn.MaxPool2d):
                assert layer.kernel_size in (2, 3) and layer.stride in (1, 2) and not layer.return_indices
                size = (x.shape[-1] - layer.kernel_size) // layer.stride + 1
                x = layer(x)
                assert x.shape[-1] == size
            elif isinstance(layer, nn.Conv2d):
                x = F.conv2d(x, layer.weight, layer.bias) if name == "0" else layer(x)
                assert layer.out_channels == 6 and layer.weight.shape[0] == x.shape[1] and not layer.training
            else:
                x = layer(x)
        last = dict(self.named_modules())["features.6"]
        assert last is features[-1] and list(features.children())[-1] is self.get_submodule("features.6")
        return self.head(x.to(self.head.weight.dtype).mean((2, 3)))


@pytest.fixture
def photos():
    return torch.rand(2, 3, 14, 14, generator=torch.Generator().manual_seed(2)).double() * 2 - 1


def maps(net, photos, method, layer):
    few = {"n_samples": 3} if "n_samples" in registry.card("method", method).parameters else {}
    few |= {"cells": 3} if "cells" in registry.card("method", method).parameters else {}
    return xaibench.attribute(net, photos, torch.tensor([1, 3]), method, cam_layer=layer, **few)


def agree(net, other, photos, method, layer):
    found, wanted = maps(net, photos, method, layer), maps(other, photos, method, layer)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-9 * float(wanted.abs().max())) and wanted.abs().max() > 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", ["features.6", "features.5", "features.4"])
def test_networks_that_look_at_their_own_modules(method, layer, photos):
    curious, plain = Curious().double().eval(), Plain().double().eval()
    plain.load_state_dict(curious.state_dict())
    agree(curious, plain, photos, method, layer)
    assert type(curious.features[2]) is nn.ReLU and "forward" not in vars(curious.features[4])


class LowRank(nn.Module):
    """As in LoRA: a frozen weight plus the product of two small matrices."""

    def __init__(self, weight):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(len(weight), 2)), nn.Parameter(torch.randn(2, weight[0].numel()))

    def forward(self, weight):
        return weight + 0.3 * (self.a @ self.b).view_as(weight)


PARAMETRISED = {
    "spectral_norm": nn.utils.spectral_norm,
    "weight_norm": nn.utils.weight_norm,
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", 0.4),
    "new spectral_norm": parametrizations.spectral_norm,
    "new weight_norm": parametrizations.weight_norm,
    "orthogonal": parametrizations.orthogonal,
    "low rank": lambda layer: parametrize.register_parametrization(layer, "weight", LowRank(layer.weight)),
}


@pytest.mark.slow
@pytest.mark.parametrize("method", [*METHODS, "ixg", "grad-cam"])
@pytest.mark.parametrize("kind", PARAMETRISED)
def test_weights_that_are_computed(method, kind, photos):
    net, plain = Plain(), Plain()
    for name in ("features.0", "features.4", "head"):
        PARAMETRISED[kind](net.get_submodule(name))
    net.double().eval()(photos)
    plain.double().eval()
    with torch.no_grad():
        for name in ("features.0", "features.4", "head"):
            plain.get_submodule(name).weight.copy_(net.get_submodule(name).weight)
            plain.get_submodule(name).bias.copy_(net.get_submodule(name).bias)
        assert torch.allclose(net(photos), plain(photos), atol=1e-12)
    agree(net, plain, photos, method, "features.4")
    assert torch.allclose(net(photos), plain(photos), atol=1e-12), "the original computes its weights as before"


class Tied(nn.Module):
    """One module runs twice and stands in two places; another has its weight under a second name."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.stem, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True)
        self.body = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1), self.relu])
        self.body.append(self.body[0])
        self.last, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 5)
        self.last.weight = self.body[0].weight

    def forward(self, x):
        x = self.relu(self.stem(x))
        for layer in self.body:
            x = layer(x)
        return self.head(self.relu(self.last(self.relu(x))).mean((2, 3)))


class Untied(nn.Module):
    """The same with a copy of each, and functions."""

    def __init__(self, tied):
        super().__init__()
        self.stem, self.last, self.head = tied.stem, tied.last, tied.head
        self.one, self.two = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        for layer in (self.one, self.two):
            layer.load_state_dict(tied.body[0].state_dict())

    def forward(self, x):
        x = self.two(F.relu(self.one(F.relu(self.stem(x)))))
        return self.head(F.relu(self.last(F.relu(x))).mean((2, 3)))


@pytest.mark.parametrize("method", [name for name in METHODS if name != "full-grad"])
def test_tied_weights_and_modules(method, photos):
    net = Tied()
    agree(net.double().eval(), Untied(net).double().eval(), photos, method, "last")


@pytest.mark.parametrize("method", [*METHODS, "ixg"])
def test_hooks_of_the_user_are_part_of_the_network(method, photos):
    """Steering an activation by a hook is the same as a layer that adds."""
    net, plain = Plain(), Plain()
    shift = torch.rand(6, 1, 1).double()
    net.features[4].register_forward_hook(lambda module, args, output: output + shift)
    net.double().eval()
    plain.load_state_dict(net.double().state_dict())
    plain.double().eval()
    with torch.no_grad():
        plain.features[4].bias += shift.flatten()
    if method == "full-grad":  # which adds up the gradients of biases
        pytest.skip("the shift is a bias in one network and not in the other")
    agree(net, plain, photos, method, "features.5")
    assert len(net.features[4]._forward_hooks) == 1


def test_what_is_wrong_with_a_copy_is_said(photos):
    class Random(Plain):
        def forward(self, x):
            return super().forward(F.dropout(x, 0.5))

    class Outside(Plain):
        def forward(self, x):
            return super().forward(x) * (1 if self is owner[0] else 2)

    for net, cause in (
        (Random(), "gives other logits for the same images in a second pass"),
        (Outside(), "depends on more than its modules hold"),
    ):
        owner = [net]
        with pytest.raises(xaibench.XaibenchError, match=cause):
            maps(net.double().eval(), photos, "guided-backprop", "features.6")
