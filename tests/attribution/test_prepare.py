"""The copy of a network that libraries may hook: same logits, every ReLU its own module, the original untouched."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from xaibench.attribution.adapters.prepare import Guard, MaxPool, forget, prepared
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.runner import ModelRunner
from xaibench.errors import XaibenchError
from xaibench.models.base import ModelView


class Mixed(nn.Module):
    """One in-place ReLU used twice, functional ReLUs of every spelling, overlapping max pools; five classes."""

    def __init__(self, returns=lambda logits: logits):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.relu = nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        self.pool, self.head, self.returns = nn.MaxPool2d(3, 2, padding=1, ceil_mode=True), nn.Linear(6, 5), returns

    def forward(self, x):
        x = self.pool(self.relu(self.norm(self.first(x))))
        x = self.relu(self.second(x)) + F.relu(self.second(x) - 0.1, inplace=True)
        x = self.pool(torch.relu(self.second(x)) + self.second(x).relu())
        x = F.max_pool2d(torch.relu_(self.second(x)), 2)
        return self.returns(self.head(x.mean((2, 3))))


@pytest.fixture
def mixed():
    torch.manual_seed(5)
    return Mixed().double().eval()


def state(net):
    """Everything about a network that a careless adapter changes."""
    hooks = {n: [len(v) for k, v in vars(m).items() if "hooks" in k] for n, m in net.named_modules()}
    kinds = {n: (type(m), getattr(m, "inplace", None), m.training) for n, m in net.named_modules()}
    weights = {k: (v.data_ptr(), v.sum().item()) for k, v in net.state_dict().items()}
    gradients = {k: (p.requires_grad, p.grad is None) for k, p in net.named_parameters()}
    return hooks, kinds, weights, gradients


def test_every_relu_and_pool_of_a_pass_is_a_module_of_its_own(mixed, pictures, classes, evidence):
    e = evidence(mixed, pictures, classes)
    net = prepared(e)
    assert torch.equal(net(pictures), mixed(pictures))
    assert (len(net.relus), len(net.pools)) == (6, 3)
    ran = []
    for module in (*net.relus, *net.pools):
        module.register_forward_hook(lambda module, args, output: ran.append(module))
    net(pictures)
    assert len(ran) == 9 and set(ran) == {*net.relus, *net.pools}
    seen = []
    net.apply(seen.append)
    assert not any(m.inplace for m in seen if isinstance(m, nn.ReLU))
    assert [m for m in seen if isinstance(m, (nn.ReLU, nn.MaxPool2d))] == [*net.relus, *net.pools]
    assert all(type(m) is MaxPool for m in net.pools)


def test_the_copy_shares_memory_and_wants_no_gradients_of_weights(mixed, pictures, classes, evidence):
    net = prepared(evidence(mixed, pictures, classes))
    for name, value in mixed.state_dict().items():
        assert net.net.state_dict()[name].data_ptr() == value.data_ptr()
    assert not any(p.requires_grad for p in net.parameters())


def test_the_original_stays_as_it_was(mixed, pictures, classes):
    mixed.head.weight.grad = torch.ones_like(mixed.head.weight)
    before = state(mixed)
    with ModelRunner(mixed) as runner:
        e = Evidence(runner, pictures, classes, list("abcd"), view=ModelView(mixed.second))
        net = prepared(e)
        net.zero_grad()
        inputs = pictures.clone().requires_grad_()
        net(inputs).sum().backward()
        assert prepared(e) is net, "made once"
        copied = net.net
    assert state(mixed) == before
    assert not runner.memo and not copied._forward_hooks


def test_passes_through_the_copy_count_once_each(mixed, pictures, classes, evidence):
    e = evidence(mixed, pictures, classes)
    with ModelRunner(mixed) as other:
        net = prepared(e)
        made = e.runner.forwards, e.runner.backwards
        assert made == (8, 0), "four for the logits, four to check the copy"
        net(pictures[:3].clone().requires_grad_()).sum().backward()
        assert (e.runner.forwards, e.runner.backwards) == (11, 3)
        assert other.forwards == 4, "hooks of somebody else are not copied"


def test_hooks_that_a_library_left_come_off_and_counting_goes_on(mixed, pictures, classes, evidence):
    e = evidence(mixed, pictures, classes)
    net = prepared(e)
    for module in net.modules():
        module.register_forward_hook(lambda module, args, output: None)
        module.register_full_backward_hook(lambda module, a, b: None)
    net.clean()
    assert sum(len(m._forward_hooks) + len(m._backward_hooks) for m in net.modules()) == 1
    before = e.runner.forwards
    net(pictures)
    assert e.runner.forwards == before + 4
    forget(e)
    assert prepared(e) is not net


def test_probabilities_and_picked_outputs(pictures, classes):
    torch.manual_seed(5)
    net = Mixed(lambda logits: {"logits": logits}).double().eval()
    with ModelRunner(net, output=lambda raw: raw["logits"]) as runner:
        e = Evidence(runner, pictures, classes, list("abcd"))
        logits = net(pictures)["logits"]
        assert torch.equal(prepared(e)(pictures), logits)
        soft = e.explaining(classes, output="probability")
        assert torch.equal(prepared(soft)(pictures), logits.softmax(-1))
        assert torch.equal(prepared(e)(pictures), logits)
        known = Evidence(runner, pictures, classes, list("abcd"), view=ModelView(probability="sigmoid"))
        soft = known.explaining(classes, output="probability")
        assert torch.equal(prepared(soft)(pictures), logits.sigmoid())


class PreActivation(nn.Module):
    """Where the shortcut is what an in-place ReLU left of its input."""

    def __init__(self):
        super().__init__()
        self.first, self.head, self.relu = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 5, 1), nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.first(x)
        return (self.head(self.relu(x)) + x).mean((2, 3))


class Moody(nn.Module):
    """Runs more ReLUs for some inputs than for others."""

    def forward(self, x):
        x = torch.relu(x) if x.sum() > 0 else x
        return torch.relu(x).mean((2, 3))


def test_networks_whose_copy_would_be_another_are_refused(pictures, classes, evidence, mixed):
    with pytest.raises(XaibenchError, match="without in-place activations gives other logits"):
        prepared(evidence(PreActivation().double().eval(), pictures, classes))
    shifted = pictures - pictures.mean((1, 2, 3), keepdim=True) + 1
    moody = evidence(Moody(), shifted, classes % 3)
    net = prepared(moody)
    with pytest.raises(XaibenchError, match="other activations in one pass than in another"):
        net(shifted - 2)
    mixed.thing = (i for i in [])
    with pytest.raises(XaibenchError, match=r"cannot be copied.* holds a generator as 'thing'"):
        prepared(evidence(mixed, pictures, classes))


def test_other_activations_are_told(pictures, classes, evidence, small):
    assert prepared(evidence(small, pictures, classes)).activations == {"softplus"}


class Adds(nn.Module):
    """Adds to the CAM layer's output in place."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        x = self.body(x)
        x += 100
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_what_is_kept_of_the_cam_layer_is_its_output(precision, pictures, classes):
    torch.manual_seed(0)
    net, kept = Adds().eval().to(torch.float64 if precision == "float64" else torch.float32), []
    images = pictures.to(net.head.weight.dtype)
    with ModelRunner(net, precision=precision) as runner:
        e = Evidence(runner, images, classes, list("abcd"), view=ModelView(net.body))
        copy = prepared(e)
        tap = copy.tap(net.body)
        assert copy.tap(net.body) is tap and sum(isinstance(m, Guard) for m in copy.modules()) == 1
        tap.register_forward_hook(lambda module, args, output: kept.append(output))
        logits = copy(images)
    assert kept[0].dtype == images.dtype and kept[0].requires_grad
    assert kept[0].abs().max() < 10 and torch.allclose(kept[0], net.body(images), atol=0.05)
    assert (logits - net(images)).abs().max() < (1e-9 if precision == "float64" else 1)


def test_a_layer_of_another_network_is_told(mixed, pictures, classes, evidence):
    net = prepared(evidence(mixed, pictures, classes))
    with pytest.raises(XaibenchError, match="no layer of the network"):
        net.tap(nn.Conv2d(1, 1, 1))
    with pytest.raises(XaibenchError, match="no layer with a spatial map"):
        net.tap(None)
