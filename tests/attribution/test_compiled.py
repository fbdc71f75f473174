"""Networks by torch.compile, torch.jit, torch.fx and torch.export, compared with that which they were made from."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

import xaibench
from xaibench import registry
from xaibench.errors import XaibenchError
from xaibench.models.opened import Opaque, opened, original, uncompiled
from xaibench.models.state import load_state, read_state

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
X = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([1, 3])
BATCH = ({0: torch.export.Dim.AUTO},)


class Net(nn.Module):
    """Batch normalisation, dropout, in-place ReLUs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm, self.relu = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True), nn.Dropout(0.5))
        self.head = nn.Linear(4, 5)
        self.norm.running_mean.uniform_(-0.2, 0.2)

    def forward(self, x):
        return self.head(self.body(self.relu(self.norm(self.stem(x)))).mean((2, 3)))


def compiled(thing):
    return torch.compile(thing, backend="eager")


def with_compiled(path):
    net = Net()
    parent, _, name = path.rpartition(".")
    setattr(net.get_submodule(parent), name, compiled(net.get_submodule(path)))
    return net


def in_place(path):
    net = Net()
    net.get_submodule(path).compile(backend="eager")
    return net


def compiled_method():
    net = Net()
    net.forward = compiled(net.forward)
    return net


COMPILED = {
    "whole": lambda: compiled(Net()),
    "its call": lambda: compiled(Net().eval().__call__),
    "its forward": lambda: compiled(Net().eval().forward),
    "a part": lambda: with_compiled("body"),
    "a part of a part": lambda: with_compiled("body.0"),
    "a part of a compiled one": lambda: compiled(with_compiled("stem")),
    "in place": lambda: in_place(""),
    "a part in place": lambda: in_place("body"),
    "its method": compiled_method,
    "in DataParallel": lambda: nn.DataParallel(compiled(Net())),
}
FUNCTIONS = {
    "script": lambda: torch.jit.script(Net().eval()),
    "trace": lambda: torch.jit.trace(Net().eval(), X),
    "freeze": lambda: torch.jit.freeze(torch.jit.script(Net().eval())),
    "module of an export": lambda: torch.export.export(Net().eval(), (X,), dynamic_shapes=BATCH).module(),
    "export": lambda: torch.export.export(Net().eval(), (X,), dynamic_shapes=BATCH),
}
PARTS = {
    "script": lambda net: torch.jit.script(net.stem),
    "trace": lambda net: torch.jit.trace(net.stem, X),
    "export": lambda net: torch.export.export(net.stem, (X,), dynamic_shapes=BATCH).module(),
}
GRADIENTS = ["ixg", "saliency", "ig", "ixg-sg", "gradient-shap"]
PERTURBATIONS = ["rise", "occlusion", "feature-ablation", "lime", "kernel-shap", "shapley-sampling"]
MODULES = ["grad-cam", "guided-backprop", "deeplift", "guided-grad-cam", "full-grad", "score-cam"]


def maps(net, method, **more):
    known = registry.card("method", method).parameters
    few = {"masks": 6, "steps": 3, "n_samples": 4, "samples": 2, "cells": 2}
    return xaibench.attribute(net, X, Y, method, **({k: v for k, v in few.items() if k in known} | more))


def near(found, wanted, most=1e-5):
    return torch.allclose(found, wanted, rtol=0, atol=most * float(wanted.abs().max())) and bool(wanted.any())


@pytest.mark.parametrize("method", ["ixg", "rise", "occlusion", *MODULES])
@pytest.mark.parametrize("kind", COMPILED)
def test_a_compiled_network_is_the_original(kind, method):
    net = COMPILED[kind]()
    modules = dict(net.eval().named_modules()) if isinstance(net, nn.Module) else {}
    before = {name: dict(vars(module)) for name, module in modules.items()}
    assert torch.equal(maps(net, method), maps(Net().eval(), method))
    now = dict(net.named_modules()) if modules else {}
    assert now.keys() == modules.keys() and all(now[name] is modules[name] for name in now), "what is compiled stays so"
    for name, module in now.items():
        assert vars(module).keys() == before[name].keys()
        assert vars(module).get("_compiled_call_impl") is before[name].get("_compiled_call_impl")


@pytest.mark.parametrize("method", ["ixg", "grad-cam", "guided-backprop"])
@pytest.mark.parametrize("named", ["body._orig_mod.0", "body.0", "_orig_mod.body.0"])
def test_layers_go_by_the_names_of_the_original(method, named):
    net = compiled(with_compiled("body")).eval()
    key = "layer" if method == "ixg" else "cam_layer"
    if method == "guided-backprop":
        assert torch.equal(maps(net, method), maps(Net().eval(), method))
        return
    wanted = maps(Net().eval(), method, **{key: "body.0"})
    assert torch.equal(maps(net, method, **{key: named}), wanted)
    assert torch.equal(maps(net, method, **{key: net.get_submodule("_orig_mod.body._orig_mod.0")}), wanted)
    assert near(maps(net, method, **{key: net._orig_mod.body}), maps(Net().eval(), method, **{key: "body"}))


def test_nothing_is_compiled_in_a_call(monkeypatch):
    calls = []
    net = in_place("")
    net.compile(backend=lambda graph, inputs: calls.append(1) or graph.forward)
    net.eval()
    for method in ("ixg", "grad-cam", "occlusion"):
        maps(net, method)
    xaibench.score("sds", net, X, Y, torch.rand(2, 1, 12, 12), grid=2)
    assert not calls
    net(X)
    assert calls, "afterwards it is compiled as before"


def test_a_compiled_network_comes_back_whatever_is_raised():
    net = with_compiled("body")
    with pytest.raises(ZeroDivisionError), opened(net):
        assert type(net.body) is nn.Sequential
        raise ZeroDivisionError
    assert type(net.body).__name__ == "OptimizedModule"
    plain = uncompiled(compiled(net))
    assert plain is net and [n for n, _ in net.named_modules()] == [n for n, _ in Net().named_modules()]


def test_a_graph_of_fx_is_a_network():
    net = torch.fx.symbolic_trace(Net().eval())
    for method in ("ixg", "occlusion", *MODULES):
        assert near(maps(net, method), maps(Net().eval(), method)), method


@cache
def function(kind):
    """A function of torch, made once: to make one takes longer than to explain it."""
    return FUNCTIONS[kind]()


@pytest.mark.parametrize("method", [*GRADIENTS, *PERTURBATIONS])
@pytest.mark.parametrize("kind", FUNCTIONS)
def test_gradients_and_perturbations_of_a_function(kind, method):
    most = 1e-3 if kind == "freeze" else 1e-5  # normalisation is part of the convolution there
    assert near(maps(function(kind), method), maps(Net().eval(), method), most)


@pytest.mark.parametrize("method", MODULES)
@pytest.mark.parametrize("kind", FUNCTIONS)
def test_methods_that_need_modules_say_so_of_a_function(kind, method):
    with pytest.raises(XaibenchError, match=r"needs the modules .* this one is a function of torch\.") as told:
        maps(function(kind), method)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("kind", PARTS)
def test_a_function_within_a_network(kind):
    net = Net().eval()
    net.stem = PARTS[kind](net)
    flags = [parameter.requires_grad for parameter in net.parameters()]
    for method in ("ixg", "rise", "occlusion", "gradient-shap", "grad-cam", "score-cam"):
        assert near(maps(net, method), maps(Net().eval(), method)), method
    for method in ("guided-backprop", "deeplift", "full-grad"):
        with pytest.raises(XaibenchError, match=r"its part stem is a function of torch\."):
            maps(net, method)
    assert [parameter.requires_grad for parameter in net.parameters()] == flags
    assert not isinstance(net.stem, Opaque)


@pytest.mark.parametrize("make", [
    lambda net: torch.jit.trace(net, X), lambda net: torch.export.export(net, (X,)).module(),
], ids=["trace", "export"])  # fmt: skip
def test_a_function_that_was_made_in_training_mode_is_refused(make):
    with pytest.raises(XaibenchError, match="was made in training mode, in which it stays"):
        maps(make(Net().train()), "ixg")


def test_a_script_in_training_mode_is_refused_until_it_is_not():
    net = torch.jit.script(Net())
    with pytest.raises(XaibenchError, match="in training mode"):
        maps(net, "ixg")
    assert near(maps(net.eval(), "ixg"), maps(Net().eval(), "ixg"))


def test_an_export_for_one_size_of_batch_is_told():
    net = torch.export.export(Net().eval(), (X,)).module()
    with pytest.raises(XaibenchError, match=r"does not take a batch of \d+ images .*dynamic_shapes") as told:
        maps(net, "ig")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_a_function_has_the_tensors_of_the_network_by_their_names(kind):
    found, wanted = original(FUNCTIONS[kind]()), Net().eval().state_dict()
    if kind != "freeze":  # whose tensors are constants
        assert found.state_dict().keys() == wanted.keys()
        assert all(torch.equal(found.state_dict()[name], wanted[name]) for name in wanted)
        found.to(torch.float64)
        assert {tensor.dtype for tensor in found.whole.state_dict().values() if tensor.is_floating_point()} == {
            torch.float64
        }


@pytest.mark.parametrize("wrap", [
    compiled, nn.DataParallel, lambda net: nn.DataParallel(compiled(net)), lambda net: compiled(nn.DataParallel(net)),
])  # fmt: skip
def test_weights_of_a_compiled_network_load_into_the_original(wrap, tmp_path):
    net = with_compiled("body")
    net.body._orig_mod[0].weight.data.fill_(0.25)
    torch.save(wrap(net).state_dict(), tmp_path / "weights.pth")
    plain = Net()
    load_state(plain, read_state(tmp_path / "weights.pth"), "net")
    assert (plain.body[0].weight == 0.25).all() and torch.equal(plain.head.weight, net.head.weight)
