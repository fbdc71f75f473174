"""`xaibench.attribute` at a layer, and for networks of every family."""

from __future__ import annotations

import pytest
import torch
from captum.attr import InputXGradient
from torch import nn
from torch.nn.functional import interpolate

import xaibench
from xaibench import registry
from xaibench.attribution.bagnet import patch_logits
from xaibench.attribution.bcos import contributions
from xaibench.cards import Geometry
from xaibench.errors import XaibenchError
from xaibench.models.bagnet import build as bagnet
from xaibench.models.base import Encoding, Model
from xaibench.models.open import build_model

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
TARGETS = torch.tensor([3, 0])


@pytest.mark.parametrize("named", ["path", "module", "stage"])
def test_maps_at_a_layer_are_those_of_the_part_behind_it(named, small, pictures, classes, deviation):
    expected = InputXGradient(small.head).attribute(small.body(pictures), target=classes).sum(1, keepdim=True)
    expected = interpolate(expected, (16, 16), mode="bilinear", align_corners=False)
    model, layer = small, {"path": "body", "module": small.body, "stage": "Final"}[named]
    if named == "stage":
        encoding = Encoding((0.5,) * 3, (0.5,) * 3)
        model = Model("mine", small, encoding, "body", (8, 8), 5, stages={"Final": "body"})
    assert deviation(xaibench.attribute(model, pictures, classes, "ixg", layer=layer), expected) < 1e-9
    assert deviation(xaibench.attribute(model, pictures, classes, "ixg"), expected) > 1e-2


def test_class_activation_maps_take_the_layer_before_the_cam_layer(small, pictures, classes):
    wanted = xaibench.attribute(small, pictures, classes, "layer-cam", cam_layer="body.1")
    assert torch.equal(xaibench.attribute(small, pictures, classes, "layer-cam", layer="body.1"), wanted)
    both = xaibench.attribute(small, pictures, classes, "layer-cam", layer="body.1", cam_layer="head.0")
    assert torch.equal(both, wanted)


def test_the_input_is_no_layer_and_controls_have_none(small, pictures, classes):
    wanted = xaibench.attribute(small, pictures, classes, "ixg")
    assert torch.equal(xaibench.attribute(small, pictures, classes, "ixg", layer="Input"), wanted)
    random = xaibench.attribute(small, pictures, classes, "random")
    assert torch.equal(xaibench.attribute(small, pictures, classes, "random", layer="body"), random)


@pytest.mark.process
@pytest.mark.parametrize("kind", ["network", pytest.param("model", marks=pytest.mark.slow)])
def test_b_cos_networks_are_known_by_their_modules(kind, evidence):
    pytest.importorskip("bcos")
    card = registry.card("model", "bcos_resnet18")
    model = build_model(card, 5, Geometry(resize=32, crop=32))
    colours = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    inputs = torch.cat([colours, 1 - colours], 1)
    given = model if kind == "model" else model.net
    expected = contributions(evidence(model.net, inputs, TARGETS)).sum(1, keepdim=True)
    assert torch.allclose(xaibench.attribute(given, inputs, TARGETS, "b-cos"), expected, rtol=1e-4, atol=1e-7)
    assert xaibench.attribute(given, inputs, TARGETS, "b-cos", layer="layer4").shape == (2, 1, 32, 32)

    @xaibench.method("start")
    def start(e):
        return e.baseline("zero").expand_as(e.inputs)

    black = xaibench.attribute(given, inputs, TARGETS, "start")
    assert torch.equal(black, torch.full((2, 1, 32, 32), 3.0)), "0, 0, 0, 1, 1, 1"
    pixels = xaibench.attribute(given, inputs, TARGETS, "ig-u", steps=2)
    assert torch.equal(pixels, xaibench.attribute(given, inputs, TARGETS, "ig-u", steps=2, space="pixels"))
    assert not torch.equal(pixels, xaibench.attribute(given, inputs, TARGETS, "ig-u", steps=2, space="encoded"))
    with pytest.raises(XaibenchError, match=r"takes channels x and then 1 - x, not inputs \(2, 3, 32, 32\)"):
        xaibench.attribute(model.net, colours, TARGETS, "b-cos")


@pytest.mark.process
@pytest.mark.parametrize("family", [None, pytest.param("bagnet", marks=pytest.mark.slow)])
def test_bagnets_have_their_patches(family, evidence):
    torch.manual_seed(0)
    net = bagnet(5, patch=9).eval()
    inputs = torch.randn(2, 3, 24, 24)
    maps = xaibench.attribute(net, inputs, TARGETS, "bagnet", family=family)
    assert torch.equal(maps, patch_logits(evidence(net, inputs, TARGETS)))


def test_probabilities_are_the_familys(small, pictures, classes):
    """RISE sums probabilities: with all of the image kept, a map is the probability everywhere."""
    whole = {"masks": 1, "cells": 1, "keep": 1.0}
    for family, squash in (("cnn", lambda x: x.softmax(1)), ("vit", lambda x: x.softmax(1))):
        maps = xaibench.attribute(small, pictures, classes, "rise", family=family, **whole)
        wanted = squash(small(pictures)).gather(1, classes[:, None])
        assert torch.allclose(maps.mean((1, 2, 3)), wanted[:, 0], rtol=1e-9)
    net = nn.Sequential(nn.Conv2d(6, 3, 1), small).double().eval()
    inputs = torch.cat([pictures, 1 - pictures], 1)
    maps = xaibench.attribute(net, inputs, classes, "rise", family="bcos", **whole)
    wanted = net(inputs).sigmoid().gather(1, classes[:, None])
    assert torch.allclose(maps.mean((1, 2, 3)), wanted[:, 0].detach(), rtol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": "layer9"}, "the model has no layer 'layer9'; among its"),
        ({"layer": nn.ReLU()}, "the model has no layer ReLU; among its"),
        ({"layer": "head.4"}, "the CAM layer must run once in a pass and give a map"),
        ({"layer": "body", "method": "rise"}, "method rise is not defined at a stage of the model"),
        ({"family": "CNN"}, "unknown family 'CNN'; it is one of vit, bcos, bagnet, cnn"),
        ({"method": "b-cos"}, "method b-cos needs a B-cos network; this model is a CNN"),
        ({"method": "bagnet", "family": "bagnet"}, "needs a BagNet .xaibench.models.bagnet."),
        ({"method": "rollout", "family": "vit"}, "needs a vision transformer with the parts of timm's"),
    ],
)
def test_mistakes_are_one_line(changes, message, small, pictures, classes):
    arguments = {"inputs": pictures, "targets": classes, "method": "ixg"} | changes
    with pytest.raises(XaibenchError, match=message) as caught:
        xaibench.attribute(small, **arguments)
    assert "\n" not in str(caught.value)


def test_a_parameter_called_layer_is_the_methods_own(small, pictures, classes):
    @xaibench.method("deep", layer=1)
    def deep(e, layer):
        return e.images * layer

    found = xaibench.attribute(small, pictures, classes, "deep", layer=3)
    assert torch.allclose(found, 3 * pictures.sum(1, keepdim=True))
