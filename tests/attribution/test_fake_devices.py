"""Every method on a fake GPU: no devices are mixed, and no pass makes the program wait for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache, partial

import pytest
import torch
from fake_cuda import OnCuda, fake_cuda, moved
from torch import Tensor, nn

from xaibench import registry
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.gradients import input_x_gradient
from xaibench.attribution.methods import incompatibility, method_maps
from xaibench.attribution.runner import ModelRunner
from xaibench.models.bagnet import BagNet
from xaibench.models.base import Encoding, ModelView

SMALLER = {"steps": 2, "masks": 3, "n_samples": 2, "samples": 2, "cells": 2, "window": 0.5, "stride": 0.5}
IMAGES, CLASSES = 2, 3
# code of captum and pytorch-grad-cam, which loops over inputs and reads results from the device itself
OF_OTHERS = frozenset(
    {
        "ablation-cam", "deconvolution", "deeplift", "eigen-cam", "eigen-grad-cam", "feature-ablation", "finer-cam",
        "full-grad", "grad-cam-elementwise", "gradient-shap", "guided-backprop", "guided-grad-cam", "hires-cam",
        "kernel-shap", "lime", "lrp-epsilon-plus-flat", "occlusion", "score-cam", "shapley-sampling",
    }
)  # fmt: skip
# waits of each pass that are left in code of our own
PER_PASS = {
    "chefer-lrp": {"read": 2},  # whether rows of the attention sum to one, and whether its head is the network's
    "legrad": {"read": 2},
    "legrad-clip": {"read": 2},
    "grad-eclip": {"read": 1},  # the former
    "grad-eclip-code": {"read": 1},
    "rollout": {"read": 1},
    "vit-grad-cam": {"read": 1},
}
# what no fake GPU can run, and why
CANNOT: dict[str, str] = {}


def cnn() -> tuple[nn.Module, nn.Module]:
    body = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU()
    )
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)), body


def vit() -> tuple[nn.Module, nn.Module]:
    from timm.models.vision_transformer import VisionTransformer

    net = VisionTransformer(img_size=8, patch_size=4, embed_dim=8, depth=2, num_heads=2, num_classes=CLASSES)
    return net, net.blocks[-1].norm1


def bcos() -> tuple[nn.Module, nn.Module | None]:
    pytest.importorskip("bcos")
    card = registry.card("model", "bcos_critters_cnn")
    net = registry.load(card)(num_classes=CLASSES, **card.parameters)
    return net, net.get_submodule(card.cam_layer) if card.cam_layer else None


def bagnet() -> tuple[nn.Module, nn.Module]:
    net = BagNet(CLASSES, 9, width=4, blocks=(1, 1, 1, 1))
    return net, net.layer4


FAMILIES: dict[str, tuple[Callable, int]] = {
    "cnn": (cnn, 8),
    "vit": (vit, 8),
    "bcos": (bcos, 32),
    "bagnet": (bagnet, 12),
}


@cache
def example(family: str) -> tuple[nn.Module, nn.Module | None, Tensor]:
    """A network of a family with random weights, its CAM layer, and images for it."""
    build, side = FAMILIES[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net, layer = build()
        pixels = torch.rand(IMAGES, 3, side, side)
    images = torch.cat([pixels, 1 - pixels], 1) if family == "bcos" else 4 * pixels - 2
    return net.eval().requires_grad_(False), layer, images


def cases() -> list:
    """Families and methods: all of cnn, and in the others those that do something of their own there.

    What is slow: other families, and code of others.
    """
    found = []
    for family in FAMILIES:
        for name in registry.names("method"):
            card = registry.card("method", name)
            own = family == "cnn" or name in ("ixg", "grad-cam") or family in {*card.families, *card.family_parameters}
            fits = not incompatibility(card.for_family(family), family, has_cam_layer=True)
            if own and fits and card.role != "oracle":
                quick = family == "cnn" and name not in OF_OTHERS
                found.append(pytest.param(family, name, marks=() if quick else pytest.mark.slow))
    return found


def watched(family: str, method: Callable[[Evidence], Tensor], chunk: int) -> tuple[Tensor, Counter, int]:
    """Maps of a method on the fake GPU, what was waited for, and the number of passes."""
    net, layer, images = example(family)
    path = next((name for name, module in net.named_modules() if module is layer), None)
    encoding = (
        Encoding((0.0,) * 3, (1.0,) * 3, complement=True) if family == "bcos" else Encoding((0.5,) * 3, (0.25,) * 3)
    )
    with fake_cuda() as gpu:
        there, passes = moved(net), Counter()
        there.register_forward_pre_hook(lambda *given: passes.update(["pass"]))
        view = ModelView(path and there.get_submodule(path), encoding=encoding, zero=encoding.zero)
        with ModelRunner(there, chunk=chunk) as runner:
            e = Evidence(runner, images.to("cuda"), torch.arange(IMAGES), ["a", "b"], view=view)
            gpu.waits.clear()
            maps = method(e)
        assert maps.device == e.images.device
        return maps.value, gpu.waits, passes["pass"]


def method_of(family: str, name: str) -> Callable[[Evidence], Tensor]:
    card = registry.card("method", name).for_family(family)
    smaller = {key: SMALLER.get(key, value) for key, value in card.parameters.items()}
    return lambda e: method_maps(card, e, smaller)


@pytest.mark.parametrize(("family", "name"), cases())
def test_devices_are_not_mixed_and_passes_do_not_wait(family, name):
    if name in CANNOT:
        with pytest.raises(Exception):  # noqa: B017  (each has its own; one that runs is not to be listed)
            watched(family, method_of(family, name), 64)
        return
    maps, few, passes = watched(family, method_of(family, name), 64)
    assert maps.isfinite().all() and maps.shape[:2] == (IMAGES, 1) and not few["draw"]
    if name in OF_OTHERS:
        return
    again, many, more = watched(family, method_of(family, name), 1)
    assert torch.allclose(again, maps, rtol=1e-3, atol=1e-5 * float(maps.abs().max()))
    grown = {kind: many[kind] - few[kind] for kind in many | few if many[kind] != few[kind]}
    assert grown == {kind: count * (more - passes) for kind, count in PER_PASS.get(name, {}).items()}


def test_lists_name_what_there_is():
    assert {*OF_OTHERS, *PER_PASS, *CANNOT} <= set(registry.names("method"))


@pytest.mark.parametrize("name", ["ig", "rise"])
def test_values_are_those_of_the_cpu(name):
    net, layer, images = example("cnn")
    view = ModelView(layer, encoding=Encoding((0.5,) * 3, (0.25,) * 3))
    with ModelRunner(net, chunk=64) as runner:
        expected = method_of("cnn", name)(Evidence(runner, images, torch.arange(IMAGES), ["a", "b"], view=view))
    assert torch.allclose(watched("cnn", method_of("cnn", name), 64)[0], expected, rtol=1e-4)


def on_the_cpu(e: Evidence, made: Callable[[Tensor], Tensor]) -> Tensor:
    """A method with a mistake: a tensor on the CPU meets one on the GPU."""
    return input_x_gradient(e) + made(torch.ones(e.images.shape[-1]))


@pytest.mark.parametrize("index", [False, True])
def test_a_method_that_mixes_devices_is_found(index):
    assert len(watched("cnn", input_x_gradient, 64)[0]) == IMAGES
    mixed = partial(on_the_cpu, made=lambda ones: ones[OnCuda(torch.tensor([0]))] if index else ones)
    with pytest.raises(RuntimeError, match=r"cuda:0.*cpu|device"):
        watched("cnn", mixed, 64)


def test_what_is_waited_for_is_counted():
    with fake_cuda() as gpu:
        x = torch.arange(4.0).to("cuda")
        assert gpu.waits == {"upload": 1} and x.device.type == "cuda"
        assert x[torch.tensor([1])].tolist() == [1] and gpu.waits == {"upload": 1, "index": 1, "download": 1}
        assert x[x > 1].device == x.device and gpu.waits["read"] == 1
        assert bool((x > 1).any()) and float(x.sum()) == 6 and gpu.waits["read"] == 3
        torch.rand(2, device="cuda")
        assert gpu.waits["draw"] == 1
        x[0] = 5
        assert (x * 2 + torch.tensor(1.0)).sum().device == x.device and x.cpu().tolist() == [5, 1, 2, 3]
