"""Larger last maps: the same as torchvision's own dilation, and 4 x 4 positions at 64 pixels for every card."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from xaibench import registry
from xaibench.cards import Geometry
from xaibench.models.dilate import dilate_last_stage, sample_input
from xaibench.models.open import build_model, model_card
from xaibench.models.probe import last_spatial_layer, map_size

SMALL = {"resnet18", "resnet34", "resnet50", "squeezenet1_0", "squeezenet1_1", "mobilenet_v2", "densenet121"}
CONVOLUTIONAL = [c.name for c in map(model_card, registry.names("model")) if c.family != "vit" and c.stages]
CARDS = [pytest.param(n, marks=() if n in SMALL else pytest.mark.slow) for n in CONVOLUTIONAL]


@pytest.fixture(autouse=True)
def quick_initialisation(monkeypatch):
    """Weights stay as memory had them: these tests look at shapes, or set them."""
    for name in ("kaiming_normal_", "trunc_normal_", "normal_", "kaiming_uniform_", "xavier_uniform_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *_, **__: tensor)


def filled(net: nn.Module, seed: int) -> nn.Module:
    random = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            scale = 1.0 if name.endswith(("running_var", "bn.weight")) else 0.05
            tensor.copy_(torch.rand(tensor.shape, generator=random) * scale + (0.5 if "var" in name else 0))
    return net.eval()


@pytest.mark.parametrize("side", [64, pytest.param(96, marks=pytest.mark.process)])
def test_one_dilation_of_a_resnet_is_torchvisions(side):
    ours = filled(torchvision.models.resnet50(num_classes=10), 0)
    theirs = torchvision.models.resnet50(num_classes=10, replace_stride_with_dilation=[False, False, True]).eval()
    theirs.load_state_dict(ours.state_dict())
    assert dilate_last_stage(ours, "layer4", sample_input(3, side), side // 16) == 1
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = theirs(x)
        assert torch.equal(ours(x), logits) and logits.isfinite().all() and logits.std() > 0


def test_two_dilations_are_torchvisions():
    ours = filled(torchvision.models.resnet50(num_classes=10), 0)
    theirs = torchvision.models.resnet50(num_classes=10, replace_stride_with_dilation=[False, True, True]).eval()
    theirs.load_state_dict(ours.state_dict())
    assert dilate_last_stage(ours, "layer4", sample_input(3, 64), 8) == 2
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(ours(x), theirs(x), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("name", CARDS)
def test_every_card_reaches_four_by_four_at_64_pixels_with_the_same_weights(name):
    card, geometry = model_card(name), Geometry(resize=64, crop=64)
    plain, dilated = (build_model(card, 10, geometry, grid) for grid in (0, 4))
    if not plain.cam_layer:  # attention without a map, as in the transformer of bcos: nothing to dilate
        assert plain.cam_grid == dilated.cam_grid == (0, 0) and not dilated.notes
        return
    assert min(dilated.cam_grid) >= 4 and dilated.cam_layer == plain.cam_layer
    assert min(plain.cam_grid) < 4 or not dilated.notes
    assert not dilated.notes or (dilated.notes[0].endswith("dilated") and dilated.notes[0] in dilated.label)
    shapes = [{k: v.shape for k, v in m.net.state_dict().items()} for m in (plain, dilated)]
    assert shapes[0] == shapes[1]
    inputs = torch.zeros(1, dilated.encoding.channels, 64, 64)
    with torch.no_grad():
        assert dilated.net(inputs).shape == (1, 10)
    assert map_size(dilated.net, dilated.cam_layer, inputs) == dilated.cam_grid


def test_large_enough_maps_are_left_alone():
    net = torchvision.models.resnet18(num_classes=10).eval()
    assert dilate_last_stage(net, "layer4", sample_input(3, 128), 4) == 0
    assert net.layer4[0].conv1.stride == (2, 2)


def test_it_stops_where_nothing_is_left_to_undo():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
    assert dilate_last_stage(net, "2", sample_input(3, 8), 16) == 1
    assert map_size(net, "2", sample_input(3, 8)) == (8, 8)


def test_the_last_spatial_layer_is_the_outermost_that_ends_there():
    x = torch.zeros(1, 3, 64, 64)
    assert last_spatial_layer(torchvision.models.resnet18(), x) == "layer4"
    assert last_spatial_layer(torchvision.models.squeezenet1_1(), x) == "classifier.2"
    assert last_spatial_layer(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2)), x) == ""
    assert map_size(nn.Identity(), "", x) == (0, 0)
