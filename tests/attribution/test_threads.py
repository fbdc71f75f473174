"""Calls in several threads give what they give one after the other, whatever hooks and draws their methods use."""

from __future__ import annotations

import random
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor, as_completed

import pytest
import torch
from torch import nn

import xaibench
from xaibench.errors import XaibenchError
from xaibench.exclusive import _holders, _waiting

TARGETS = torch.tensor([1, 3])
PARAMETERS = {
    "rise": {"masks": 5}, "lime": {"n_samples": 6}, "gradient-shap": {"n_samples": 3}, "kernel-shap": {"n_samples": 6}
}  # fmt: skip
ATTENTION = ("rollout", "chefer-lrp", "vit-grad-cam", "grad-cam")
CONVOLUTION = (
    "grad-cam", "layer-cam", "ixg", "rise", "lime", "kernel-shap", "gradient-shap", "hires-cam", "ablation-cam",
    "deeplift", "guided-backprop",
)  # fmt: skip


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))

    def forward(self, x):
        return self.head(self.body(x))


@pytest.fixture(scope="module")
def networks():
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    vit = VisionTransformer(img_size=16, patch_size=4, embed_dim=12, depth=2, num_heads=2, num_classes=5)
    return {"cnn": Net().eval(), "vit": vit.eval()}


@pytest.fixture(scope="module")
def batches():
    dice = torch.Generator().manual_seed(1)
    return [torch.randn(2, 3, 16, 16, generator=dice) for _ in range(8)]


@pytest.fixture(autouse=True)
def often_switching():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)
    assert not _holders and not _waiting


def at_once(calls):
    """The results of calls in eight threads, in order."""
    with ThreadPoolExecutor(8) as pool:
        return [future.result(timeout=120) for future in [pool.submit(call) for call in calls]]


def explained(net, inputs, method, **others):
    return xaibench.attribute(net, inputs, TARGETS, method, **PARAMETERS.get(method, {}), **others)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "method"), [*(("vit", m) for m in ATTENTION), *(("cnn", m) for m in CONVOLUTION)])
def test_threads_that_explain_one_network_get_their_own_maps(kind, method, networks, batches):
    net = networks[kind]
    expected = [explained(net, inputs, method) for inputs in batches]
    before = random.getstate(), torch.get_rng_state().tolist(), list(warnings.filters)
    found = at_once([lambda inputs=inputs: explained(net, inputs, method) for inputs in batches])
    assert all(map(torch.equal, found, expected))
    assert (random.getstate(), torch.get_rng_state().tolist(), list(warnings.filters)) == before


def test_wrappers_that_share_a_module_are_one_network_to_threads(networks, batches):
    vit = networks["vit"]
    wrappers = [nn.Sequential(vit).eval() for _ in range(2)]
    expected = [explained(vit, inputs, "rollout") for inputs in batches]
    calls = [lambda n=n, x=x: explained(wrappers[n % 2], x, "rollout") for n, x in enumerate(batches)]
    assert all(map(torch.equal, at_once(calls), expected))


@pytest.mark.parametrize("method", ["lime", "gradient-shap", "ablation-cam"])
def test_networks_of_their_own_draw_as_if_alone(method, batches):
    """The generators belong to the process, the networks to the threads."""
    nets = [Net().eval() for _ in batches]
    expected = [explained(net, x, method) for net, x in zip(nets, batches, strict=True)]
    calls = [lambda net=net, x=x: explained(net, x, method) for net, x in zip(nets, batches, strict=True)]
    assert all(map(torch.equal, at_once(calls), expected))


class Meeting(nn.Module):
    """A network whose first pass waits until another one's first pass has begun."""

    def __init__(self, barrier):
        super().__init__()
        self.net, self.barrier, self.met = Net(), [barrier], False

    def forward(self, x):
        if not self.met:
            self.met = True
            self.barrier[0].wait(timeout=60)
        return self.net(x)


def test_two_networks_are_explained_side_by_side(batches):
    barrier = threading.Barrier(2)
    nets = [Meeting(barrier).eval() for _ in range(2)]
    found = at_once([lambda net=net: explained(net, batches[0], "grad-cam", cam_layer="net.body") for net in nets])
    assert all(torch.equal(maps, explained(nets[0].net, batches[0], "grad-cam", cam_layer="body")) for maps in found)


def nested(first, second, inputs, barrier=None):
    """A call for `first` whose network asks for a map of `second` in its passes."""

    class Asks(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.met = first, False

        def forward(self, x):
            if barrier and not self.met:
                self.met = True
                barrier.wait(timeout=60)
            explained(second, inputs, "grad-cam")
            return self.net(x)

    return xaibench.attribute(Asks().eval(), inputs, TARGETS, "ixg")


def test_a_nested_call_of_the_same_thread_goes_on(networks, batches):
    net = networks["cnn"]
    assert torch.equal(nested(net, net, batches[0]), explained(net, batches[0], "ixg"))


def test_a_method_that_calls_attribute_explains_in_many_threads(networks, batches):
    net = networks["cnn"]

    @xaibench.method("twice-ixg")
    def twice(evidence):
        """A method that asks for the map of another one."""
        return 2 * explained(evidence.runner.net, evidence.images, "ixg")

    expected = [2 * explained(net, inputs, "ixg") for inputs in batches]
    assert all(map(torch.equal, at_once([lambda x=x: explained(net, x, "twice-ixg") for x in batches]), expected))


def test_two_calls_that_would_wait_for_each_other_end_with_one_line(batches):
    one, other, barrier = Net().eval(), Net().eval(), threading.Barrier(2)
    pairs = [(one, other), (other, one)]
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(nested, first, second, batches[0], barrier) for first, second in pairs]
        errors = [future.exception(timeout=120) for future in as_completed(futures, timeout=120)]
    (refused,) = [error for error in errors if error is not None]
    assert isinstance(refused, XaibenchError) and "\n" not in str(refused)
    assert "two threads" in str(refused)


def test_scores_in_threads_are_those_of_one(networks, batches):
    net = networks["cnn"]
    maps = explained(net, batches[0], "ixg")
    expected = [xaibench.score("sds", net, inputs, TARGETS, maps) for inputs in batches]
    found = at_once([lambda x=x: xaibench.score("sds", net, x, TARGETS, maps) for x in batches])
    assert all(map(torch.equal, found, expected))
