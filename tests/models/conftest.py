"""An empty home, one thread, and a small network with weights worth telling apart."""

from __future__ import annotations

import pytest
import torch
from torch import nn


@pytest.fixture(autouse=True)
def empty_home(tmp_path, monkeypatch):
    """XAIBENCH_HOME is an empty folder, so that nothing that was trained or downloaded here is found."""
    folder = tmp_path / "empty-home"
    monkeypatch.setenv("XAIBENCH_HOME", str(folder))
    return folder


@pytest.fixture
def make_net():
    """make_net(classes=5, seed=0): a CNN with a BatchNorm, two convolutions and a linear layer."""

    def make(classes: int = 5, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        net = nn.Sequential()
        net.stem = nn.Conv2d(3, 4, 3, bias=False)
        net.norm = nn.BatchNorm2d(4)
        net.pool = nn.AdaptiveAvgPool2d(1)
        net.flat = nn.Flatten()
        net.fc = nn.Linear(4, classes)
        net.norm.running_mean.normal_()
        return net.eval()

    return make
