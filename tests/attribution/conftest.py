"""Small networks with random weights, images, evidence about them, and a way to say that maps agree."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn


def _randomised(net: nn.Module, seed: int) -> nn.Module:
    """The network with weights and BatchNorm statistics that make every unit and every bias matter."""
    random = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            count = module.num_features
            module.running_mean.copy_(0.3 * torch.randn(count, generator=random))
            module.running_var.copy_(0.5 + torch.rand(count, generator=random))
            module.weight.data = 0.5 + torch.rand(count, generator=random)
            module.bias.data = 0.2 * torch.randn(count, generator=random)
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def resnet() -> nn.Module:
    """ResNet-18 with random weights for ten classes, float32."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    return _randomised(resnet18(num_classes=10), 1)


@pytest.fixture(scope="session")
def exact_resnet(resnet) -> nn.Module:
    """The same ResNet-18 in double precision: gates of ReLUs do not flip by rounding."""
    return deepcopy(resnet).double()


GAIN = 8  # so that the terms of the formulas weigh comparably


class Small(nn.Module):
    """A CNN of a few hundred weights whose head is not linear in the CAM layer `body`."""

    def __init__(self, classes: int = 5):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
        )
        self.head = nn.Sequential(
            nn.Conv2d(8, 6, 3, padding=1), nn.Softplus(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


@pytest.fixture(scope="session")
def exact_small() -> nn.Module:
    """A tiny CNN for five classes in double precision; its CAM layer is `body`."""
    torch.manual_seed(2)
    net = Small().double().eval().requires_grad_(False)
    net.head[-1].weight *= GAIN
    return net


@pytest.fixture
def small(exact_small) -> nn.Module:
    """A copy of the tiny CNN that a test may change."""
    return deepcopy(exact_small)


@pytest.fixture
def pictures() -> Tensor:
    """Four encoded images of 16 x 16 pixels in double precision."""
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.fixture
def classes() -> Tensor:
    """A target for each of the pictures."""
    return torch.tensor([1, 4, 0, 3])


@pytest.fixture(scope="session")
def photos64() -> Tensor:
    """Eight encoded images of 64 x 64 pixels, float32: smooth blobs, so that neighbouring pixels agree."""
    coarse = torch.randn(8, 3, 12, 12, generator=torch.Generator().manual_seed(4))
    return nn.functional.interpolate(coarse, (64, 64), mode="bicubic")


def _deviation(ours, reference) -> float:
    """The largest difference between maps (P, ...), relative to the largest value of each reference map."""
    ours, reference = (
        np.asarray(torch.as_tensor(v).detach(), np.float64).reshape(len(v), -1) for v in (ours, reference)
    )
    assert ours.shape == reference.shape and np.isfinite(ours).all()
    size = np.abs(reference).max(1)
    assert (size > 0).mean() > 0.5, "references that are zero prove nothing"
    return float((np.abs(ours - reference).max(1) / np.where(size > 0, size, size.max())).max())


@pytest.fixture(scope="session")
def deviation():
    """deviation(ours, reference): the largest difference relative to each reference map's largest value."""
    return _deviation
