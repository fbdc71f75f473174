"""Random numbers inside captum and pytorch-grad-cam: from (seed, purpose, image id), on the CPU, without a trace.

A GPU is stood in for by fake tensors, which say that they are on one, and by draws that are moved although they need
not be.
"""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import xaibench
from xaibench import registry
from xaibench.attribution.adapters import drawing as module
from xaibench.attribution.adapters.cam_method import BATCHED
from xaibench.attribution.adapters.captum_method import DRAWS_NOTHING
from xaibench.attribution.adapters.drawing import DrawnOnCpu, drawing
from xaibench.attribution.methods import method_maps
from xaibench.cards import MethodCard
from xaibench.errors import XaibenchError

DRAWING = ["gradient-shap", "kernel-shap", "lime", "shapley-sampling", "captum.attr:LayerGradientShap",
           "captum.attr:GradientShap", "pytorch_grad_cam:RandomCAM", "pytorch_grad_cam:KPCA_CAM"]  # fmt: skip


class Seen(TorchDispatchMode):
    """Notes where each operation that draws was carried out, and on which thread."""

    def __init__(self):
        super().__init__()
        self.devices: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if (
            torch.Tag.nondeterministic_seeded in func.tags
            or "random" in func._schema.name
            or "binomial" in func._schema.name
        ):
            tensors = [thing for thing in (found, *args) if isinstance(thing, torch.Tensor)]
            self.devices += [tensor.device.type for tensor in tensors]
        return found


def states() -> tuple:
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()


CUDA = {"device": "cuda"}
CALLS = {
    "normal of a spread": lambda x: torch.normal(0.0, x),
    "normal of a mean": lambda x: torch.normal(x, 1.0),
    "normal of both": lambda x: torch.normal(x, x),
    "randn": lambda x: torch.randn(3, 4, **CUDA),
    "rand": lambda x: torch.rand(3, 4, **CUDA),
    "randint": lambda x: torch.randint(3, (4,), **CUDA),
    "randperm": lambda x: torch.randperm(4, **CUDA),
    "rand_like": lambda x: torch.rand_like(x),
    "randn_like": lambda x: torch.randn_like(x),
    "randint_like": lambda x: torch.randint_like(x, 5),
    "normal_": lambda x: x.normal_(),
    "uniform_": lambda x: x.uniform_(),
    "exponential_": lambda x: x.exponential_(),
    "random_": lambda x: x.random_(),
    "bernoulli_": lambda x: x.bernoulli_(0.5),
    "bernoulli": lambda x: torch.bernoulli(x),
    "multinomial": lambda x: torch.multinomial(x, 2),
    "poisson": lambda x: torch.poisson(x),
    "binomial": lambda x: torch.binomial(x, x),
    "gamma": lambda x: torch._standard_gamma(x),
    "dropout": lambda x: F.dropout(x, 0.5),
    "dropout of channels": lambda x: F.dropout2d(x[None, None], 0.5),
    "gumbel": lambda x: F.gumbel_softmax(x),
    "rrelu": lambda x: F.rrelu(x, training=True),
    "init": lambda x: nn.init.kaiming_normal_(x),
    "out": lambda x: torch.randn(3, 4, out=x, **CUDA),
    "categorical": lambda x: torch.distributions.Categorical(x, validate_args=False).sample(),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_a_gpu_would_draw_is_drawn_on_the_cpu_and_moved(name):
    with FakeTensorMode():
        x = torch.empty(3, 4, **CUDA)
        if name != "binomial":  # which fake tensors know on a CPU only
            with Seen() as alone:
                CALLS[name](x)
            assert "cuda" in alone.devices, "the call draws"
        with Seen() as seen, DrawnOnCpu():
            found = CALLS[name](x)
        assert seen.devices and set(seen.devices) == {"cpu"} and found.device.type == "cuda"
        assert found is x or not name.endswith("_")


def test_layers_without_dropout_stay_where_they_are():
    with FakeTensorMode(), DrawnOnCpu():
        q = torch.empty(1, 2, 4, 8, **CUDA)
        assert F.scaled_dot_product_attention(q, q, q).device.type == "cuda"


@pytest.mark.parametrize("name", CALLS)
def test_moved_draws_have_the_values_of_the_cpu(name, monkeypatch):
    """Every tensor counts as one of another device, so each draw goes the way that a GPU's would go."""
    monkeypatch.setitem(CUDA, "device", "cpu")
    x = torch.rand(3, 4)
    torch.manual_seed(3)
    wanted = CALLS[name](x.clone())
    monkeypatch.setattr(module, "_device_of", lambda args, kwargs: torch.device("cpu"))
    monkeypatch.setattr(torch.Tensor, "cpu", torch.Tensor.clone)
    torch.manual_seed(3)
    with DrawnOnCpu():
        own = x.clone()
        found = CALLS[name](own)
    assert torch.equal(found, wanted)
    assert found is own or name not in ("normal_", "uniform_", "random_", "bernoulli_", "out")


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    torch.manual_seed(5)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(4, 5)).eval().double()


def method(name: str) -> tuple[MethodCard, dict]:
    card = registry.card("method", name) if ":" not in name else MethodCard(name="mine", title="mine", target=name)
    few = {"n_samples": 5} if "n_samples" in card.parameters else {}
    return card, dict(card.parameters | few)


@pytest.mark.parametrize("name", DRAWING)
def test_maps_do_not_depend_on_device_batch_chunk_or_generators(name, plain, pictures, classes, evidence, monkeypatch):
    card, parameters = method(name)
    torch.manual_seed(0)
    first = method_maps(card, evidence(plain, pictures, classes, list("abcd"), cam_layer=plain[3]), parameters)
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    before = states()
    e = evidence(plain, pictures[[2]], classes[[2]], ["c"], cam_layer=plain[3])
    e.runner.chunk = 2
    alone = method_maps(card, e, parameters)
    assert torch.allclose(alone, first[[2]], rtol=0, atol=1e-9 * float(first.abs().max()))
    monkeypatch.setattr(module, "_device_of", lambda args, kwargs: torch.device("cpu"))  # as on a GPU
    real = module.drawing
    monkeypatch.setattr(
        "xaibench.attribution.adapters.library.drawing", lambda *purpose, device: real(*purpose, device="meta")
    )
    moved = method_maps(card, evidence(plain, pictures, classes, list("abcd"), cam_layer=plain[3]), parameters)
    assert torch.equal(moved, first)
    assert states() == before


@pytest.mark.parametrize("name", [*sorted(f"captum.attr:{n}" for n in DRAWS_NOTHING),
                                  *sorted(f"pytorch_grad_cam:{n}" for n in BATCHED)])  # fmt: skip
def test_what_is_said_to_draw_nothing_draws_nothing(name, plain, pictures, classes, evidence, monkeypatch):
    # of the package; the noise of this check is xaibench's, from generators of its own
    monkeypatch.setattr("xaibench.attribution.adapters.cam_method.check_biases", lambda e, net: None)
    card, parameters = method(name)
    parameters |= {"window": 0.5, "stride": 0.5} if name.endswith(":Occlusion") else {}
    before = states()
    with Seen() as seen:
        try:
            method_maps(card, evidence(plain, pictures, classes, list("abcd"), cam_layer=plain[3]), parameters)
        except XaibenchError as error:  # of some classes in some versions, whatever draws nothing
            assert "draw" not in str(error)
    assert not seen.devices and states() == before


def test_generators_come_back_whatever_is_raised():
    before = states()
    with pytest.raises(ZeroDivisionError), drawing(0, "mine"):
        torch.rand(3), np.random.rand(), random.random()
        raise ZeroDivisionError
    assert states() == before


def test_no_generator_of_a_device_is_seeded(monkeypatch):
    """`torch.manual_seed` seeds those of all devices, also of those that are first used later."""
    for name in ("manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, lambda seed: pytest.fail("seeds the device"))
    monkeypatch.setattr(torch, "manual_seed", lambda seed: pytest.fail("seeds all devices"))
    with drawing(0, "mine", device="cuda"):
        torch.rand(3)


def test_threads_draw_one_after_the_other():
    found, start = {}, threading.Barrier(4)

    def draw(name: str) -> None:
        start.wait(10)
        for _ in range(20):
            with drawing(0, name):
                drawn = torch.cat([torch.rand(100) for _ in range(20)] + [torch.tensor([np.random.rand()])])
            found.setdefault(name, []).append(drawn)

    threads = [threading.Thread(target=draw, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for name in "abcd":
        assert len(found[name]) == 20 and all(torch.equal(drawn, found[name][0]) for drawn in found[name])


def test_shipped_methods_that_draw_are_known_here(plain, pictures, classes):
    """Every shipped method of another package either draws within `drawing` or not at all."""
    names = [
        n for n in registry.names("method") if {"captum", "pytorch-grad-cam"} & set(registry.card("method", n).tags)
    ]
    for name in names:
        _, parameters = method(name)
        before = states()
        xaibench.attribute(plain, pictures[:1], classes[:1], name, cam_layer="3", **parameters)
        assert states() == before, name
