"""BagNets: what a position sees, how far apart patches are, and what is said of images that are too small."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import resnet50

from xaibench import registry
from xaibench.cards import Geometry
from xaibench.errors import XaibenchError
from xaibench.models.bagnet import BagNet, Bottleneck, build
from xaibench.models.open import build_model

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier

PATCHES = (9, 17, 33)


@pytest.fixture(scope="module")
def nets() -> dict[int, BagNet]:
    """A BagNet of each size, in double precision, whose branches add something."""
    torch.manual_seed(0)
    made = {patch: build(3, patch).double().eval() for patch in PATCHES}
    for module in (m for net in made.values() for m in net.modules()):
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias, 0, 0.1)
    return made


def last_map(net: BagNet, images: torch.Tensor) -> torch.Tensor:
    kept = []
    handle = net.layer4.register_forward_hook(lambda module, args, output: kept.append(output))
    net(images)
    handle.remove()
    return kept[0]


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("place", [(0, 0), (1, 2)])
def test_a_position_sees_its_patch_and_nothing_else(patch, place, nets):
    image = torch.randn(1, 3, patch + 11, patch + 20, dtype=torch.float64, requires_grad=True)
    maps = last_map(nets[patch], image)
    assert nets[patch].field == (patch, 8) and maps.shape == (1, 2048, 2, 3)
    maps[0, :, *place].sum().backward()
    rows, columns = (image.grad[0] != 0).any(0).nonzero(as_tuple=True)
    assert (rows.min(), rows.max()) == (8 * place[0], 8 * place[0] + patch - 1)
    assert (columns.min(), columns.max()) == (8 * place[1], 8 * place[1] + patch - 1)


@pytest.mark.parametrize("patch", PATCHES)
def test_an_image_of_one_patch_gives_the_logits_of_that_patch(patch, nets):
    net, image = nets[patch], torch.randn(1, 3, patch + 8, patch + 16, dtype=torch.float64)
    with torch.no_grad():
        parts = [net(image[:, :, r : r + patch, c : c + patch]) for r in (0, 8) for c in (0, 8, 16)]
        assert torch.allclose(net(image), sum(parts) / 6, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("patch", "wide"), [(9, 2), (17, 3), (33, 4)])
def test_parameters_have_the_names_of_a_resnet_50_and_few_see_more_than_a_position(patch, wide):
    with torch.device("meta"):
        net, like = build(1000, patch), resnet50()
    assert set(net.state_dict()) - set(like.state_dict()) == {"conv2.weight"}
    assert set(like.state_dict()) <= set(net.state_dict())
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert sum(m.kernel_size == (3, 3) for m in convolutions) == 1 + wide
    assert {m.padding for m in convolutions} == {(0, 0)} and {m.bias for m in convolutions} == {None}
    # a 3x3 convolution has 8 more weights per pair of channels; ResNet-50 has 16 of them and a stem of 7x7
    widths = [(64, 3, 1), (128, 4, 1), (256, 6, 1), (512, 3, 1)]
    fewer = sum(8 * w * w * (blocks - (stage < wide)) for stage, (w, blocks, _) in enumerate(widths))
    stem = 3 * 64 + 9 * 64 * 64 - 49 * 3 * 64
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in like.parameters()) - fewer + stem


def test_a_branch_adds_nothing_at_first():
    net = build(3, 9).eval()
    maps = torch.rand(1, 256, 6, 6)
    with torch.no_grad():
        assert torch.equal(net.layer1[1](maps), maps), "a block whose shapes do not change passes maps on"


def test_a_shortcut_is_the_upper_left_of_what_the_branch_sees():
    block, maps = Bottleneck(8, 2, 3, 1).eval(), torch.rand(1, 8, 6, 7)
    nn.init.zeros_(block.bn3.weight)
    strided = Bottleneck(8, 2, 3, 2).eval()
    nn.init.zeros_(strided.bn3.weight)
    convolution, norm = strided.downsample
    nn.init.dirac_(convolution.weight)
    with torch.no_grad():
        assert torch.equal(block(maps), maps[:, :, :-2, :-2])
        assert torch.equal(strided(maps), norm(maps[:, :, [0, 2]][:, :, :, [0, 2, 4]]))


def test_cards_build_them_and_small_images_are_refused_in_one_line():
    square = Geometry(resize=40, crop=40)
    for patch in PATCHES:
        model = build_model(registry.card("model", f"bagnet{patch}"), 4, square)
        assert (model.family, model.net.field, model.cam_layer) == ("bagnet", (patch, 8), "layer4")
    message = r"model bagnet33 cannot take images of 32x32 pixels: ValueError: its patches have 33 pixels a side"
    with pytest.raises(XaibenchError, match=message):
        build_model(registry.card("model", "bagnet33"), 4, Geometry(resize=32, crop=32))


@pytest.mark.slow
@pytest.mark.parametrize("patch", PATCHES)
def test_a_dilated_last_stage_brings_patches_closer_and_leaves_their_size(patch):
    side = patch + 16
    model = build_model(registry.card("model", f"bagnet{patch}"), 4, Geometry(resize=side, crop=side), min_cam_grid=5)
    assert model.net.field == (patch, 4) and model.cam_grid == (5, 5) and model.notes == ("last stage dilated",)
