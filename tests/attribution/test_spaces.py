"""Uniform baselines and noise in the space of pixels: what leaves [0, 1], what stays whatever the encoding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import xaibench
from xaibench import registry
from xaibench.attribution.methods import check_parameters, choose_methods, method_maps
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding

BCOS = Encoding((0.0,) * 3, (1.0,) * 3, complement=True)
IMAGENET = Encoding((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
RANDOM = ("ig-u", "ig-u-abs", "rise-u", "ixg-sg", "ixg-sg-abs", "ig-sg", "ig-sg-abs", "ig-sg-sq", "sg-cam++")


class Seen(nn.Module):
    """A network whose first step is the encoding, so that it sees pixels."""

    def __init__(self, encoding: Encoding, net: nn.Module):
        super().__init__()
        self.encoding, self.net = encoding, net

    def forward(self, pixels: Tensor) -> Tensor:
        return self.net(self.encoding.of_pixels(pixels))


@pytest.fixture
def pixels() -> Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(8), dtype=torch.float64)


@pytest.fixture
def encoded(small, pixels, classes, evidence):
    """encoded(encoding): evidence about the encoded pixels."""
    return lambda encoding: evidence(small, encoding.of_pixels(pixels), classes, encoding=encoding)


def test_encoding_of_a_change_is_the_change_of_the_encoding(pixels):
    change = pixels.flip(0) - 0.3
    for encoding in (BCOS, IMAGENET):
        expected = encoding.of_pixels(pixels + change) - encoding.of_pixels(pixels)
        assert torch.allclose(encoding.of_change(change), expected, rtol=0, atol=1e-12)


def test_uniform_baseline_of_pixels_is_an_image(encoded):
    e = encoded(BCOS)
    baseline = e.baseline("uniform", "pixels")
    assert baseline.shape == (6, 16, 16) and baseline.min() >= 0 and baseline.max() <= 1
    assert baseline[:3].min() < 0.01 and baseline[:3].max() > 0.99 and abs(float(baseline[:3].mean()) - 0.5) < 0.03
    assert torch.allclose(baseline[:3] + baseline[3:], torch.ones(3, 16, 16).double(), rtol=0, atol=1e-7)
    assert torch.equal(baseline, e.baseline("uniform", "pixels")), "one for the run"
    published = e.baseline("uniform")
    assert published.min() < -0.9 and float((published[:3] + published[3:] - 1).abs().max()) > 1
    assert torch.equal(e.baseline("zero", "pixels"), e.baseline("zero"))


def test_noise_of_pixels_keeps_both_halves_of_the_channels_together(encoded):
    e = encoded(BCOS)
    noisy = e.noisy(2, 0.25, "pixels")
    assert torch.allclose(noisy[:, :3] - e.inputs[:, :3], 0.25 * e.noise(2)[:, :3], rtol=0, atol=1e-12)
    assert torch.allclose(noisy[:, :3] + noisy[:, 3:], torch.ones(4, 3, 16, 16).double(), rtol=0, atol=1e-12)
    published = e.noisy(2, 0.25)
    assert float((published[:, :3] + published[:, 3:] - 1).abs().max()) > 0.5
    assert torch.equal(e.noisy(None, 0.25, "pixels"), e.inputs)


def test_where_pixels_fill_the_encoded_range_both_spaces_are_one(encoded):
    e = encoded(Encoding((0.5,) * 3, (0.5,) * 3))
    assert torch.allclose(e.baseline("uniform", "pixels"), e.baseline("uniform"), rtol=0, atol=1e-6)
    assert torch.allclose(e.noisy(1, 0.5, "pixels"), e.noisy(1, 1.0), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ig-u", {"steps": 9}),
        ("ig-u", {"steps": 9, "samples": 2, "sigma": 0.1}),
        ("ig-u", {"steps": 9, "samples": 2, "sigma": 0.1, "power": 2}),
        ("rise-u", {"masks": 20}),
        ("sg-cam++", {"sigma": 0.1}),
    ],
)
def test_in_the_space_of_pixels_the_encoding_does_not_matter(
    name, parameters, small, pixels, classes, evidence, deviation
):
    """A network that encodes by itself, and sees pixels, has the maps of the network that is given encoded images."""
    itself, card = Encoding((0.0,) * 3, (1.0,) * 3), registry.card("method", name)
    parameters = card.parameters | parameters | {"space": "pixels"}
    whole = Seen(IMAGENET, small).eval()
    own = evidence(whole, itself.of_pixels(pixels), classes, encoding=itself, cam_layer=small.body)
    given = evidence(small, IMAGENET.of_pixels(pixels), classes, encoding=IMAGENET, cam_layer=small.body)
    expected = method_maps(card, own, parameters)
    assert deviation(method_maps(card, given, parameters), expected) < 1e-5
    published = method_maps(card, given, parameters | {"space": "encoded"})
    assert deviation(published, expected) > 1e-3


def test_spaces_are_remembered_apart(small, pixels, classes, evidence):
    def fresh():
        return evidence(small, IMAGENET.of_pixels(pixels), classes, encoding=IMAGENET, cam_layer=small.body)

    shared = fresh()
    few = {"steps": 3, "masks": 5}
    for name in RANDOM:
        card = registry.card("method", name)
        parameters = card.parameters | {k: v for k, v in few.items() if k in card.parameters}
        one, other = (method_maps(card, shared, parameters | {"space": space}) for space in ("encoded", "pixels"))
        assert not torch.equal(one, other)
        assert torch.equal(other, method_maps(card, fresh(), parameters | {"space": "pixels"}))


@pytest.mark.parametrize("name", RANDOM)
def test_cards_say_pixels_for_b_cos_networks_alone(name):
    card = registry.card("method", name)
    own = card.for_family("bcos")
    check_parameters(own, own.parameters)
    assert card.for_family("cnn") is card and card.for_family("vit") is card and "space" not in card.parameters
    assert own.parameters["space"] == "pixels" and own.parameters.keys() - card.parameters.keys() == {"space"}
    if "sigma" in card.parameters:
        deviation = sum(IMAGENET.std) / 3
        assert own.parameters["sigma"] == pytest.approx(card.parameters["sigma"] * deviation, rel=0.01)
    assert choose_methods([name], "net", "bcos", True)[0] == [own]
    assert choose_methods([name], "net", "cnn", True)[0] == [card]


def test_every_method_that_draws_in_encoded_space_says_so_for_b_cos_networks():
    """Whoever adds a method with a uniform baseline or noise decides what it means on [0, 1]."""
    drawing = set()
    for name in registry.names("method"):
        card = registry.card("method", name)
        if card.parameters.get("baseline") == "uniform" or ("sigma" in card.parameters and "gradients" in card.needs):
            drawing.add(name)
        for family in card.family_parameters:
            check_parameters(card, card.for_family(family).parameters)
    assert drawing - {"sg-cam++-torchcam"} == set(RANDOM), "but for what the published code did"


def test_what_is_missing_is_said(small, pictures, classes):
    with pytest.raises(XaibenchError, match="unknown space 'rgb'; it is encoded or pixels"):
        xaibench.attribute(small, pictures, classes, "ig-u", space="rgb")
    with pytest.raises(XaibenchError, match="the space pixels needs a model whose encoding is known"):
        xaibench.attribute(small, pictures, classes, "ixg-sg", space="pixels")
