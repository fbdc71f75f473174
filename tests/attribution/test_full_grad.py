"""FullGrad is refused where the biases that pytorch-grad-cam reads, and the input, do not make up the logits."""

from __future__ import annotations

import pytest
import torch
from timm.layers import BatchNormAct2d, LayerNorm2d
from torch import nn

import xaibench
from xaibench.attribution.adapters.full_grad import missing
from xaibench.errors import XaibenchError


def network(*middle: nn.Module) -> nn.Module:
    """A convolution, modules between, and a linear head, with large biases everywhere."""
    torch.manual_seed(0)
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)]
    net = nn.Sequential(nn.Conv2d(3, 6, 3), *middle, *pool).double().eval()
    for name, parameter in net.named_parameters():
        if "bias" in name:
            parameter.data = torch.randn(parameter.shape).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(), module.running_var.uniform_(0.5, 2)
    return net.requires_grad_(False)


class Tokens(nn.Module):
    """A linear layer at each position."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x):
        return self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


IMAGES = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(1)).double()


def test_a_relu_network_is_the_sum_of_its_terms():
    net = network(nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6), nn.LeakyReLU(), nn.MaxPool2d(2))
    assert missing(net, IMAGES) < 1e-12
    assert xaibench.attribute(net, IMAGES, [1, 2, 3], "full-grad").std() > 0


@pytest.mark.parametrize(
    "middle",
    [
        [BatchNormAct2d(6)],  # a subclass, which the package does not look at
        [nn.ReLU(), LayerNorm2d(6)],
        [nn.GroupNorm(2, 6), nn.ReLU()],
        [nn.BatchNorm2d(6, affine=False), nn.ReLU()],
        [nn.ReLU(), Tokens()],
        [nn.Sigmoid()],
    ],
    ids=["BatchNormAct2d", "LayerNorm2d", "GroupNorm", "no affine", "linear at positions", "sigmoid"],
)
def test_biases_that_are_not_read_are_missed(middle):
    net = network(*middle)
    with pytest.raises(XaibenchError, match="needs logits that are the sum of input x gradient and bias") as caught:
        xaibench.attribute(net, IMAGES, [1, 2, 3], "full-grad")
    assert len(str(caught.value).splitlines()) == 1
