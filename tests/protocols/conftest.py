"""A tiny network in double precision, images, and evidence about them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn


class Linear(nn.Module):
    """The logit of class 0 is a weighted sum of all values; class 1 has the constant logit 0."""

    def __init__(self, weights: Tensor):
        super().__init__()
        self.register_buffer("weights", weights)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        logit = (x * self.weights).sum((1, 2, 3))
        return torch.stack([logit, torch.zeros_like(logit)], 1)


@pytest.fixture
def linear() -> type[nn.Module]:
    """linear(weights): a network whose logit of class 0 is a weighted sum of all values."""
    return Linear


@pytest.fixture
def net() -> nn.Module:
    """A CNN for five classes that takes any image size."""
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.Tanh())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(96, 5))
    net = nn.Sequential(features, head).double().eval().requires_grad_(False)
    head[-1].weight *= 5
    return net


@pytest.fixture
def images() -> Tensor:
    """Six encoded images of 16 x 24 pixels."""
    return torch.randn(6, 3, 16, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def labels() -> Tensor:
    return torch.tensor([3, 0, 4, 1, 2, 2])


@pytest.fixture
def maps() -> Tensor:
    """A map for each image, half of its pixels 0, as after a ReLU."""
    return torch.randn(6, 1, 16, 24, generator=torch.Generator().manual_seed(2), dtype=torch.float64).relu()
