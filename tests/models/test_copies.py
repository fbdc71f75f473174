"""Copies of networks: what they compute, what they share, their hooks, and what cannot be copied."""

from __future__ import annotations

import functools
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from xaibench.attribution.runner import ModelRunner
from xaibench.errors import XaibenchError
from xaibench.models.copies import copied, without_parametrizations

pytestmark = pytest.mark.filterwarnings("ignore:.*(spectral|weight)_norm.*:FutureWarning")
X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()


class LowRank(nn.Module):
    """As in LoRA: a frozen weight plus the product of two small matrices."""

    def __init__(self, weight: Tensor):
        super().__init__()
        rows, columns = len(weight), weight[0].numel()
        self.a, self.b = nn.Parameter(torch.randn(rows, 2)), nn.Parameter(torch.randn(2, columns))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.a @ self.b).view_as(weight)


PARAMETRISED = {
    "spectral_norm": nn.utils.spectral_norm,
    "weight_norm": nn.utils.weight_norm,
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", 0.4),
    "pruned twice": lambda layer: prune.random_structured(prune.identity(layer, "weight"), "weight", 0.3, 0),
    "new spectral_norm": parametrizations.spectral_norm,
    "new weight_norm": parametrizations.weight_norm,
    "low rank": lambda layer: parametrize.register_parametrization(layer, "weight", LowRank(layer.weight)),
}  # fmt: skip


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)).eval()


@pytest.fixture(params=PARAMETRISED)
def parametrised(request):
    net = network()
    for layer in (net[0], net[3], net[7]):
        PARAMETRISED[request.param](layer)
    net.double().eval()(X)  # a hook has computed a weight that depends on parameters, which deepcopy refuses
    return net


@pytest.mark.parametrize("share", [True, False])
def test_parametrised_weights_are_computed_in_the_copy_too(parametrised, share):
    copy, twins = copied(parametrised, share)
    assert torch.equal(copy(X), parametrised(X))
    own = {name: parameter.data_ptr() for name, parameter in parametrised.named_parameters()}
    others = {name: parameter.data_ptr() for name, parameter in copy.named_parameters()}
    assert own.keys() == others.keys() and [own[n] == others[n] for n in own] == [share] * len(own)
    assert all(parameter.requires_grad != share for parameter in copy.parameters())
    before = parametrised(X)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.mul_(1.5)
    assert torch.equal(copy(X), parametrised(X)) == share
    assert torch.equal(before, parametrised(X)) != share
    assert all(type(twins[id(module)]) is type(module) for module in parametrised.modules())


def test_plain_weights_in_place_of_parametrised_ones(parametrised):
    classes = [type(module) for module in parametrised.modules()]
    copy, _ = copied(parametrised, share=True)
    without_parametrizations(copy)
    assert torch.equal(copy(X), parametrised(X)) and not any(map(parametrize.is_parametrized, copy.modules()))
    assert type(copy[0]) is nn.Conv2d and [type(module) for module in parametrised.modules()] == classes


class Tied(nn.Module):
    """One parameter under two names, and one module in two places."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.again = nn.Linear(3, 3), nn.Linear(3, 3), nn.ModuleList()
        self.second.weight = self.first.weight
        self.again.append(self.first)

    def forward(self, x):
        return self.again[0](self.second(self.first(x)))


def test_what_is_tied_stays_tied():
    net = Tied()
    copy, _ = copied(net)
    assert copy.second.weight is copy.first.weight and copy.again[0] is copy.first
    assert copy.first.weight is not net.first.weight


class Steered(nn.Module):
    """Hooks of all kinds change what it computes."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.scale = nn.Parameter(torch.tensor(1.7))
        self.a.register_forward_hook(lambda module, args, output: 2 * output)
        self.b.register_forward_pre_hook(self.scaled)
        self.c.register_forward_hook(functools.partial(added, self.b), with_kwargs=True)
        self.c.register_full_backward_hook(lambda module, inputs, outputs: (3 * inputs[0],))

    def scaled(self, module, args):
        return (args[0] * self.scale,)

    def forward(self, x):
        return self.c(self.b(self.a(x)))


def added(other, module, args, kwargs, output):
    return output + other.bias


def test_hooks_work_on_the_copy():
    net = Steered()
    copy, _ = copied(net)
    x, y = (torch.ones(2, 3).requires_grad_() for _ in range(2))
    found, wanted = copy(x), net(y)
    found.sum().backward()
    wanted.sum().backward()
    assert torch.equal(found, wanted) and torch.equal(x.grad, y.grad)
    with torch.no_grad():
        copy.scale.fill_(9)
        copy.b.bias.fill_(9)
    assert torch.equal(net(y), wanted), "hooks of the copy read the copy"
    assert not torch.allclose(copy(x), wanted)


def test_hooks_of_xaibench_are_not_copied():
    net = network().double()
    with ModelRunner(net) as runner:
        copy, _ = copied(net)
        copy(X)
        assert runner.forwards == 0 and not copy._forward_hooks and not copy._forward_pre_hooks


class Itself(nn.Linear):
    """Refuses to be copied in silence."""

    def __deepcopy__(self, memo):
        return self


def stream():
    yield 1


@pytest.mark.parametrize(("thing", "told"), [
    (lambda: threading.Lock(), "a lock"), (lambda: threading.RLock(), "a lock"), (stream, "a generator"),
    (lambda: Path(__file__).open(), "a TextIOWrapper"), (lambda: {"deep": [threading.Event()]}, "a dict"),  # noqa: SIM115
    (lambda: threading, "a module"),
])  # fmt: skip
def test_the_module_that_cannot_be_copied_is_named(thing, told):
    net = network()
    net[3].state, net[3].function = thing(), lambda x: x
    with pytest.raises(
        XaibenchError, match=rf"cannot be copied.*: its module 3 \(Conv2d\) holds {told} as 'state'"
    ) as error:
        copied(net)
    assert "\n" not in str(error.value)
    net[3].state = None
    net.state = thing()
    with pytest.raises(XaibenchError, match=rf": it \(Sequential\) holds {told} as 'state'"):
        copied(net)


def test_a_module_that_gives_itself_as_its_copy_is_named():
    with pytest.raises(XaibenchError, match=r"leaves its module 1 \(Itself\) out"):
        copied(nn.Sequential(nn.Linear(2, 2), Itself(2, 2)))


def test_functions_and_what_a_pass_has_left_are_no_obstacle():
    net = network().double()
    net.function, net.kept = (lambda x: x), [net(X), {"last": net(X)}]  # depend on parameters
    copy, _ = copied(net)
    assert torch.equal(copy(X), net(X)) and torch.equal(copy.kept[1]["last"], net.kept[1]["last"])
