"""Mistakes in calls of `xaibench.attribute` and `xaibench.score` are told in words, not by tracebacks of libraries."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import xaibench
from xaibench.attribution.runner import ModelRunner
from xaibench.errors import XaibenchError


class Net(nn.Module):
    """A small network of five classes whose ReLU runs twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.unused, self.head = nn.ReLU(), nn.Conv2d(3, 3, 1), nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.relu(self.second(self.relu(self.first(x)))).mean((2, 3)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "grad-cam", "cam_layer": "layer4"}, "no layer 'layer4'"),
        ({"method": "grad-cam", "cam_layer": "head"}, "must run once in a pass and give a map"),
        ({"method": "grad-cam", "cam_layer": "relu"}, "must run once in a pass"),
        ({"method": "grad-cam", "cam_layer": "unused"}, "must run once in a pass"),
        ({"targets": torch.tensor([0, 7])}, "target 7 is no class of 5"),
        ({"targets": torch.tensor([-1, 0])}, "target -1 is no class of 5"),
        ({"targets": torch.tensor([0.5, 0.5])}, "2 class indices, not torch.float32"),
        ({"inputs": torch.zeros(0, 3, 8, 8), "targets": torch.zeros(0, dtype=torch.long)}, "give at least one"),
        ({"inputs": torch.zeros(2, 3, 8, 8, dtype=torch.float64)}, "float64 and the network is torch.float32"),
        ({"method": "rise", "masks": 0}, "at least one mask"),
        ({"method": "ig", "steps": 0}, "at least one step"),
        ({"method": "ig-sg-sq", "steps": 1, "power": 3}, "power is 1 or 2, not 3"),
        ({"chunk": 0}, "chunk is 0"),
    ],
)
def test_mistakes_of_attribute(net, changes, message):
    arguments = {"inputs": torch.zeros(2, 3, 8, 8), "targets": torch.tensor([0, 1]), "method": "ixg"} | changes
    with pytest.raises(XaibenchError, match=message):
        xaibench.attribute(net, **arguments)


def test_a_network_in_training_mode_is_refused(net):
    with pytest.raises(XaibenchError, match=r"call model.eval"):
        xaibench.attribute(net.train(), torch.zeros(1, 3, 8, 8), torch.tensor([0]), "ixg")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"maps": torch.zeros(2, 1, 8, 8).numpy()}, "maps are a tensor"),
        ({"maps": torch.zeros(2, 3, 8, 8)}, "maps are"),
        ({"grid": 4.0}, "whole number of cells a side"),
        ({"grid": 3}, "do not divide into 3x3"),
        ({"steps": 3}, "no setting 'steps'"),
    ],
)
def test_mistakes_of_score(net, changes, message):
    arguments = {"maps": torch.zeros(2, 1, 8, 8)} | changes
    with pytest.raises(XaibenchError, match=message):
        xaibench.score("sds", net, torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]), **arguments)


def test_a_failing_pass_leaves_no_hook_behind(net):
    with pytest.raises(XaibenchError):
        xaibench.attribute(net, torch.zeros(2, 3, 8, 8), torch.tensor([0, 9]), "grad-cam", cam_layer="second")
    assert not any(m._forward_hooks for m in net.modules())
    with ModelRunner(net) as runner:
        runner.logits(2, lambda i: torch.zeros(2, 3, 8, 8)[i])
    assert not net._forward_hooks
