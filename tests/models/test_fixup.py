"""Fixup ResNet-50: its scalars, how it starts, and a block computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import resnet50

from xaibench.models.bias_free import x_resnet50
from xaibench.models.fixup import FixupBottleneck, FixupResNet50, build

SCALARS = {"bias1a", "bias1b", "bias2a", "bias2b", "bias3a", "bias3b", "scale"}


@pytest.fixture(scope="module")
def net() -> FixupResNet50:
    torch.manual_seed(1)
    return build(10).eval()


def test_six_biases_and_a_multiplier_a_block_and_two_biases_outside(net):
    scalars = {name: p for name, p in net.named_parameters() if p.numel() == 1}
    assert len(scalars) == 16 * 7 + 2 == 114
    blocks = {name: m for name, m in net.named_modules() if isinstance(m, FixupBottleneck)}
    assert len(blocks) == 16
    assert set(scalars) == {f"{block}.{name}" for block in blocks for name in SCALARS} | {"bias1", "bias2"}
    assert all(p.item() == (1 if name.endswith("scale") else 0) for name, p in scalars.items())


def test_neither_normalisation_nor_biases_of_convolutions(net):
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules())
    assert all(m.bias is None for m in net.modules() if isinstance(m, nn.Conv2d)) and net.fc.bias is not None
    with torch.device("meta"):
        convolutions = {name for name, m in resnet50().named_modules() if isinstance(m, nn.Conv2d)}
    ours = {name for name, m in net.named_modules() if isinstance(m, nn.Conv2d)}
    assert ours == {name.replace("downsample.0", "downsample") for name in convolutions}


def test_the_first_weights_are_those_of_the_paper(net):
    for block in (m for m in net.modules() if isinstance(m, FixupBottleneck)):
        for convolution in (block.conv1, block.conv2):
            given, _, height, width = convolution.weight.shape
            expected = math.sqrt(2 / (given * height * width)) * 16**-0.25
            count = convolution.weight.numel()  # the deviation of a standard deviation is 1 / sqrt(2 n) of it
            assert convolution.weight.std().item() == pytest.approx(expected, rel=5 / math.sqrt(2 * count))
            assert abs(convolution.weight.mean().item()) < 5 * expected / math.sqrt(count)
        assert not block.conv3.weight.any()
        if block.downsample is not None:
            shortcut = block.downsample.weight
            assert shortcut.std().item() == pytest.approx(math.sqrt(2 / shortcut.shape[0]), rel=0.05)
    assert not net.fc.weight.any() and not net.fc.bias.any()


@torch.no_grad()
def test_at_first_blocks_pass_maps_on_and_all_logits_are_zero(net):
    maps = torch.rand(2, 256, 5, 5)
    assert torch.equal(net.layer1[1](maps), maps) and torch.equal(net.layer1[2](maps), maps)
    assert torch.equal(net.layer1[0](maps[:, :64]), torch.relu(net.layer1[0].downsample(maps[:, :64])))
    assert not net(torch.randn(1, 3, 32, 32)).any()


def test_a_block_computed_by_hand():
    random = np.random.default_rng(0)
    block = FixupBottleneck(3, 2, 1).double().eval()
    for parameter in block.parameters():
        parameter.data = torch.from_numpy(random.normal(size=parameter.shape))
    x = random.normal(size=3)
    b = {name: getattr(block, name).item() for name in SCALARS}
    single = (block.conv1, block.conv3, block.downsample)
    first, third, shortcut = (convolution.weight.detach().numpy()[:, :, 0, 0] for convolution in single)
    second = block.conv2.weight.detach().numpy()[:, :, 1, 1]  # of a map of one position only the middle counts
    relu = lambda v: np.maximum(v, 0)  # noqa: E731
    h = relu(first @ (x + b["bias1a"]) + b["bias1b"])
    h = relu(second @ (h + b["bias2a"]) + b["bias2b"])
    h = third @ (h + b["bias3a"]) * b["scale"] + b["bias3b"]
    expected = relu(h + shortcut @ (x + b["bias1a"]))
    with torch.no_grad():
        found = block(torch.from_numpy(x)[None, :, None, None])[0, :, 0, 0]
    assert np.count_nonzero(expected) > 2
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.process
@torch.no_grad()
def test_with_neutral_scalars_it_is_the_network_without_them_and_outer_biases_shift_it():
    torch.manual_seed(2)
    net, bare = build(4).double().eval(), x_resnet50(4).double().eval()
    for name, parameter in net.named_parameters():
        if parameter.numel() > 1 and not name.endswith("downsample.weight"):
            nn.init.normal_(parameter, 0, 0.05)
    bare.load_state_dict({k: v for k, v in net.state_dict().items() if k in bare.state_dict()})
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    before = net(images)
    assert torch.allclose(before - net.fc.bias, bare(images), rtol=0, atol=1e-10) and before.std() > 0
    net.bias2 += 0.7
    assert torch.allclose(net(images) - before, 0.7 * net.fc.weight.sum(1).expand(2, -1), rtol=0, atol=1e-10)
    net.bias2 -= 0.7
    net.bias1 += 0.3
    assert (net(images) - before).abs().max() > 1e-6
