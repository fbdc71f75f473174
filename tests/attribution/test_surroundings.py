"""What a process has set around a call changes no map and no score, and a call leaves all of it as it was."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest
import torch
from surroundings import SURROUNDINGS, default_dtype, state_of
from torch import nn

import xaibench
from xaibench import registry
from xaibench.errors import XaibenchError

PARAMETERS = {
    "rise": {"masks": 7}, "lime": {"n_samples": 8}, "kernel-shap": {"n_samples": 8}, "gradient-shap": {"n_samples": 3},
    "ig": {"steps": 3}, "ig-u": {"steps": 3, "samples": 2}, "ixg-sg": {"samples": 2},
}  # fmt: skip
KINDS = ("grad-cam", "ixg-sg", "ig-u", "rise", "gradient-shap", "lime", "ablation-cam", "random", "deeplift")


class Net(nn.Module):
    """Convolutions, batch normalisation with frozen statistics, dropout that is off, a linear layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(8, 5))

    def forward(self, x):
        return self.head(self.body(x))


@pytest.fixture(scope="module")
def cnn():
    return Net().eval()


@pytest.fixture(scope="module")
def vit():
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    return VisionTransformer(img_size=16, patch_size=4, embed_dim=12, depth=2, num_heads=2, num_classes=5).eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


TARGETS = torch.tensor([1, 3])


def maps_of(net, images, method):
    return xaibench.attribute(net, images, TARGETS, method, **PARAMETERS.get(method, {}))


@pytest.fixture(scope="module")
def plain(cnn, vit, images):
    """The maps without anything around the call, each computed once."""
    found: dict[tuple[str, str], torch.Tensor] = {}

    def of(kind: str, method: str) -> torch.Tensor:
        if (kind, method) not in found:
            found[kind, method] = maps_of({"cnn": cnn, "vit": vit}[kind], images, method)
        return found[kind, method]

    return of


@pytest.mark.parametrize("around", SURROUNDINGS)
@pytest.mark.parametrize(("kind", "method"), [*(("cnn", m) for m in KINDS), ("vit", "rollout"), ("vit", "chefer-lrp")])
def test_maps_do_not_depend_on_what_is_around_the_call(around, kind, method, cnn, vit, images, plain):
    net, expected = {"cnn": cnn, "vit": vit}[kind], plain(kind, method)
    with SURROUNDINGS[around]():
        before = state_of(net)
        inputs = images.clone(memory_format=torch.preserve_format)  # an inference tensor in inference mode
        found = maps_of(net, inputs, method)
        assert state_of(net) == before
    assert torch.equal(found, expected)
    assert not found.requires_grad and not found.is_inference()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cnn", "vit"])
@pytest.mark.parametrize("method", registry.names("method"))
def test_no_method_depends_on_what_is_around_the_call(kind, method, cnn, vit, images, plain):
    net = {"cnn": cnn, "vit": vit}[kind]
    try:
        expected = plain(kind, method)
    except XaibenchError as refused:
        pytest.skip(str(refused))
    for around, enter in SURROUNDINGS.items():
        with enter():
            before = state_of(net)
            assert torch.equal(maps_of(net, images, method), expected), around
            assert state_of(net) == before, around


@pytest.mark.parametrize("method", [m for m in KINDS if m not in ("lime", "rise")])
def test_draws_of_float64_are_those_of_float32(method, cnn, images, plain):
    """RISE and LIME weigh the same masks: their maps agree as well, see below."""
    found = maps_of(Net().eval().double(), images.double(), method)
    assert torch.allclose(found.float(), plain("cnn", method), rtol=1e-3, atol=1e-4 * plain("cnn", method).abs().max())


@pytest.mark.parametrize("around", ["float64 by default", "autocast", "inference mode"])
def test_masks_of_rise_are_the_same_for_every_dtype_and_around(around, images, evidence):
    from xaibench.attribution.rise import mask_seeds

    seeds = [
        mask_seeds(evidence(Net().eval().to(dtype), images.to(dtype), TARGETS, ["a", "b"]), 200, 7, 0.1)
        for dtype in (torch.float32, torch.float64)
    ]
    with SURROUNDINGS[around]():
        seeds.append(mask_seeds(evidence(Net().eval(), images, TARGETS, ["a", "b"]), 200, 7, 0.1))
    for other in seeds[1:]:
        assert torch.equal(other.grids.float(), seeds[0].grids) and torch.equal(other.offsets, seeds[0].offsets)


@pytest.mark.parametrize("around", SURROUNDINGS)
@pytest.mark.parametrize("protocol", ["sds", "insertion", "road", "infidelity", "max-sensitivity"])
def test_scores_do_not_depend_on_what_is_around_the_call(around, protocol, cnn, images, plain):
    maps = plain("cnn", "ixg-sg")

    def score():
        try:
            return xaibench.score(protocol, cnn, images, TARGETS, maps)
        except XaibenchError as refused:
            return str(refused)

    expected = score()
    with SURROUNDINGS[around]():
        before = state_of(cnn)
        found = score()
        assert state_of(cnn) == before
    assert found == expected if isinstance(expected, str) else torch.equal(found, expected)


class Drawing(nn.Module):
    """A network that draws from every global generator, and raises from the pass `last` on."""

    def __init__(self, last: float = math.inf):
        super().__init__()
        self.net, self.passes, self.last = Net(), 0, last

    def forward(self, x):
        import random

        import numpy as np

        self.passes += 1
        if self.passes >= self.last:
            raise OSError("a device is gone")
        return self.net(x) + torch.randn(()) * 1e-3 + random.random() * 1e-3 + np.random.rand() * 1e-3


@pytest.mark.parametrize("last", [1, 2, 3, math.inf])
@pytest.mark.parametrize("method", ["ixg", "grad-cam", "rise", "lime", "gradient-shap"])
@pytest.mark.parametrize("around", ["float64 by default", "autocast", "inference mode", "device meta by default"])
def test_whatever_a_network_draws_and_raises_all_is_as_before(around, method, last, images):
    net = Drawing(last).eval()
    with SURROUNDINGS[around]():
        before = state_of(net)
        with suppress(OSError, XaibenchError):  # the network's, or the adapter's line about it
            maps_of(net, images, method)
        assert state_of(net) == before
    assert net.passes >= min(last, 2)


def test_a_call_inside_of_a_transform_is_refused_in_one_line(cnn, images):
    for transform in (torch.func.vmap, lambda f: torch.func.grad(lambda x: f(x).sum())):
        with pytest.raises(XaibenchError, match=r"inside of a transform of torch\.func") as caught:
            transform(lambda x: xaibench.attribute(cnn, x, TARGETS, "ixg"))(images[None])
        assert "\n" not in str(caught.value)


def test_nested_calls_put_the_default_type_back_once(cnn, images):
    seen = []

    class Asks(nn.Module):
        def forward(self, x):
            seen.append(xaibench.attribute(cnn, images, TARGETS, "ixg"))
            assert torch.get_default_dtype() == torch.float32
            return cnn(x)

    with default_dtype(torch.float64):
        xaibench.attribute(Asks().eval(), images, TARGETS, "ixg")
    assert seen and torch.equal(seen[0], maps_of(cnn, images, "ixg"))


def test_a_network_made_in_inference_mode_is_refused_and_its_copy_explained(cnn, images, plain):
    from copy import deepcopy

    with torch.inference_mode():
        net = Net().eval()
    with pytest.raises(XaibenchError, match=r"body.0.weight was made in inference mode .*deepcopy"):
        maps_of(net, images, "ixg")
    assert torch.equal(maps_of(deepcopy(net), images, "ixg"), maps_of(cnn, images, "ixg"))
