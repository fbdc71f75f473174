"""Modes of modules: which are refused, by name, and that each flag stays as it was."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

import xaibench
from xaibench.cards import ModelCard
from xaibench.errors import XaibenchError
from xaibench.models.build import build_network
from xaibench.models.modes import check_modes, evaluating
from xaibench.models.probe import default_cam_layer


class Functional(nn.Module):
    """Dropout by a function, which reads the flag of its module."""

    def forward(self, x):
        return nn.functional.dropout(x, 0.5, self.training)


class Inherited(Functional):
    """A class whose own code reads no flag."""


class ByName(nn.Module):
    def forward(self, x):
        return x * (1 + getattr(self, "training"))  # noqa: B009


class Encoder(nn.Module):
    """A transformer's layer on the pixels of a map."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, 0.5, batch_first=True)

    def forward(self, x):
        return self.layer(x.flatten(2).mT).mT.unflatten(2, x.shape[2:])


def network(middle: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 4, 3, padding=1), middle, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*parts, nn.Linear(4, 5)).eval()


def stochastic_depth() -> nn.Module:
    from torchvision.ops import StochasticDepth

    return StochasticDepth(0.5, "row")


WITH_EFFECT = {
    "batch normalisation": lambda: nn.BatchNorm2d(4), "synchronised": lambda: nn.SyncBatchNorm(4),
    "instance statistics": lambda: nn.InstanceNorm2d(4, track_running_stats=True), "dropout": lambda: nn.Dropout2d(),
    "alpha dropout": lambda: nn.AlphaDropout(), "random slopes": lambda: nn.RReLU(), "by a function": Functional,
    "inherited": Inherited, "by name": ByName, "stochastic depth": stochastic_depth,
}  # fmt: skip
WITHOUT_EFFECT = {
    "convolution": lambda: nn.Conv2d(4, 4, 1), "container": lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.GELU()),
    "group normalisation": lambda: nn.GroupNorm(2, 4), "no instance statistics": lambda: nn.InstanceNorm2d(4),
    "nothing is dropped": lambda: nn.Dropout(0.0), "pool": lambda: nn.MaxPool2d(2), "identity": nn.Identity,
}  # fmt: skip
INPUTS = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def explained(net, method, inputs=INPUTS):
    return xaibench.attribute(net, inputs, [0] * len(inputs), method)


def everything_of(net):
    tensors = [tensor.clone() for tensor in net.state_dict().values()]
    return [module.training for module in net.modules()], tensors


def same(one, other):
    return one[0] == other[0] and all(map(torch.equal, one[1], other[1]))


@pytest.mark.parametrize("method", ["ixg", "grad-cam", "rise", "random", "hires-cam"])
@pytest.mark.parametrize("kind", WITH_EFFECT)
def test_a_module_in_training_mode_is_refused_by_its_name_and_nothing_is_changed(kind, method):
    net = network(WITH_EFFECT[kind]())
    net[1].train()
    before = everything_of(net)
    with pytest.raises(XaibenchError, match=rf"module 1 \({type(net[1]).__name__}\) is in training mode") as caught:
        explained(net, method)
    assert "\n" not in str(caught.value) and same(everything_of(net), before)


@pytest.mark.parametrize("call", ["attribute", "score", "most_activating"])
def test_every_call_of_a_network_looks(call):
    from xaibench.protocols.activations import most_activating

    net = network(nn.BatchNorm2d(4))
    net[1].train()
    calls = {
        "attribute": lambda: explained(net, "ixg"),
        "score": lambda: xaibench.score("sds", net, INPUTS, [0] * 3, INPUTS[:, :1]),
        "most_activating": lambda: most_activating(net, "0", INPUTS, 0, 1),
    }
    with pytest.raises(XaibenchError, match=r"module 1 .* is in training mode"):
        calls[call]()


def test_a_layer_deep_inside_has_its_whole_path():
    net = network(Encoder())
    net[1].layer.dropout1.train()
    with pytest.raises(XaibenchError, match=r"module 1\.layer\.dropout1 \(Dropout\) is in training mode"):
        explained(net, "ixg")


@pytest.mark.parametrize("kind", WITHOUT_EFFECT)
def test_a_module_whose_training_mode_has_no_effect_is_explained_the_same(kind):
    net = network(WITHOUT_EFFECT[kind]())
    expected = explained(net, "ixg"), explained(net, "grad-cam")
    net[1].train()
    before = everything_of(net)
    assert torch.equal(explained(net, "ixg"), expected[0]) and torch.equal(explained(net, "grad-cam"), expected[1])
    assert same(everything_of(net), before) and net[1].training


def test_the_rule_holds_for_every_module_of_torch():
    """Those that act in training mode differ there between two passes, or from evaluation mode."""
    for name, make in (WITH_EFFECT | WITHOUT_EFFECT).items():
        module = make()
        if isinstance(module, nn.SyncBatchNorm):
            continue  # which trains on GPUs only
        x = torch.randn(3, 4, 8, 8)
        torch.manual_seed(0)
        given = [deepcopy(module).train(mode)(x.clone()) for mode in (True, False)]
        acts = not torch.allclose(*given, rtol=1e-3, atol=1e-5)
        assert acts == (name in WITH_EFFECT), name


def test_frozen_normalisations_stay_frozen_where_a_call_is_refused():
    net = nn.Sequential(*[nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)) for _ in range(5)])
    net.train()
    for block in net:
        block[1].eval()
    before = everything_of(net)
    for method in ("grad-cam", "ixg"):
        with pytest.raises(XaibenchError, match=r"training mode.*call model\.eval"):
            explained(net, method)
        assert same(everything_of(net), before)


def test_probes_give_each_module_its_own_flag_back():
    net = network(nn.Sequential(nn.BatchNorm2d(4), nn.Dropout()))
    net[1][1].train()
    net[0].train()
    before = everything_of(net)
    assert default_cam_layer(net, INPUTS) == "2"
    assert same(everything_of(net), before)
    with pytest.raises(KeyError), evaluating(net):
        assert not any(module.training for module in net.modules())
        raise KeyError
    assert same(everything_of(net), before)


def test_train_is_not_called_where_all_are_in_evaluation_mode():
    class Merging(nn.Conv2d):
        """As layers that merge weights when their mode is set."""

        def train(self, mode=True):
            assert not mode, "the mode was set"
            self.calls = getattr(self, "calls", 0) + 1
            return super().train(mode)

    net = network(Merging(4, 4, 1))
    explained(net, "grad-cam")
    assert net[1].calls == 1, "by eval() in `network`"


def test_normalisation_by_the_batch_in_evaluation_mode_is_refused():
    net = network(nn.BatchNorm2d(4, track_running_stats=False))
    assert not torch.allclose(net(INPUTS)[:1], net(INPUTS[:1]), rtol=1e-3)
    with pytest.raises(XaibenchError, match=r"module 1 \(BatchNorm2d\) has no running statistics"):
        explained(net, "ixg")
    card = ModelCard(name="mine", title="Mine", target="x:y")
    from xaibench import registry

    registry.register(card, lambda: net)
    with pytest.raises(XaibenchError, match=r"model mine: module 1 .* has no running statistics"):
        build_network(card, 5)


def test_modules_that_stay_in_training_mode_are_refused_by_a_run():
    class Always(nn.Dropout):
        def train(self, mode=True):
            return super().train(True)

    with pytest.raises(XaibenchError, match=r"module 1 \(Always\) is in training mode"):
        check_modes(network(Always()))


@pytest.mark.filterwarnings("ignore:`torch.jit.script`")
def test_scripted_modules_are_looked_at_too():
    net = network(nn.Dropout())
    net[1] = torch.jit.script(nn.Dropout().train())
    net[0] = torch.jit.script(nn.Conv2d(3, 4, 3, padding=1).train())
    with pytest.raises(XaibenchError, match=r"module 1 .* is in training mode"):
        check_modes(net)
