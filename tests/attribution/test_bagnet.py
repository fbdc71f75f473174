"""The logits of a BagNet's patches, against the network shown one patch at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from xaibench import registry
from xaibench.attribution.bagnet import own_patch_logits, patch_logits
from xaibench.attribution.methods import incompatibility, method_maps
from xaibench.errors import XaibenchError
from xaibench.models.bagnet import BagNet
from xaibench.models.dilate import dilate_last_stage, sample_input
from xaibench.models.disconnected import Disconnected

TARGETS = [3, 1, 3]


def small_net(patch: int, width: int = 4) -> BagNet:
    """A narrow BagNet of one block a stage, for five classes."""
    return BagNet(5, patch, width, (1, 1, 1, 1))


def randomised(net: BagNet) -> BagNet:
    """In double precision, with statistics and weights that make every branch count."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.normal_(module.running_mean, 0, 0.2)
    return net.double().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def net() -> BagNet:
    torch.manual_seed(0)
    return randomised(small_net(9))


@pytest.fixture
def images() -> Tensor:
    """Three images whose height is a multiple of the distance of patches, and whose width is not."""
    return torch.randn(3, 3, 16, 19, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("zero", [[0.0, 0.0, 0.0], [0.5, -0.25, 1.0]])
def test_every_pixel_has_the_logit_of_its_patch(zero, net, images, evidence):
    e = evidence(net, images, TARGETS, zero=torch.tensor(zero, dtype=torch.float64))
    maps = patch_logits(e)
    around = torch.tensor(zero, dtype=torch.float64)[:, None, None].expand(3, 24, 27).clone()
    for image, target, found in zip(images, TARGETS, maps, strict=True):
        around[:, 4:-4, 4:-4] = image
        patches = around.unfold(1, 9, 1).unfold(2, 9, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
        assert len(patches) == 16 * 19
        assert torch.allclose(found[0].flatten(), net(patches)[:, target], rtol=0, atol=1e-10)
    assert maps.shape == (3, 1, 16, 19) and maps.std() > 0.01


@pytest.mark.parametrize("patch", [9, 17, 33])
def test_the_mean_of_the_patches_that_the_model_sees_is_its_logit(patch, net, evidence):
    net = net if patch == 9 else randomised(small_net(patch))
    images = torch.randn(2, 3, patch + 9, patch + 16, dtype=torch.float64)
    maps = patch_logits(evidence(net, images, [4, 0]))
    half = (patch - 1) // 2
    seen = maps[:, 0, half::8, half::8][:, :2, :3]
    assert torch.allclose(seen.mean((1, 2)), net(images)[[0, 1], [4, 0]], rtol=0, atol=1e-10)


def test_neither_batches_nor_chunks_change_it_and_passes_count(net, images, evidence):
    e = evidence(net, images, TARGETS, chunk=7)
    whole = patch_logits(e)
    assert (e.runner.forwards, e.runner.backwards) == (3 * 64, 0)
    single = [patch_logits(evidence(net, images[i : i + 1], TARGETS[i : i + 1], chunk=64)) for i in range(3)]
    assert torch.allclose(whole, torch.cat(single), rtol=0, atol=1e-12)
    pairs = evidence(net, images, [2, 3, 1], owner=torch.tensor([0, 0, 1]), chunk=50)
    found = patch_logits(pairs)
    assert torch.allclose(found[1:], whole[:2], rtol=0, atol=1e-12) and pairs.runner.forwards == 3 * 64
    assert torch.allclose(found[0], patch_logits(evidence(net, images[:1], [2]))[0], rtol=0, atol=1e-12)


def test_a_dilated_network_has_the_same_patches(evidence):
    torch.manual_seed(3)
    sparse, dense = randomised(small_net(17)), small_net(17).eval()
    assert dilate_last_stage(dense, "layer4", sample_input(3, 33), 5) == 1
    dense.double().load_state_dict(sparse.state_dict())
    assert (sparse.field, dense.field) == ((17, 8), (17, 4))
    image = torch.randn(1, 3, 33, 33, dtype=torch.float64)
    e, other = evidence(dense, image, [2], chunk=4), evidence(sparse, image, [2])
    assert torch.allclose(patch_logits(e), patch_logits(other), rtol=0, atol=1e-10)
    assert (e.runner.forwards, other.runner.forwards) == (16, 64)


@pytest.mark.parametrize("own", [0, 3])
def test_of_disconnected_cells_only_the_own_one_has_patches(own, net, evidence):
    cells = torch.randn(4, 3, 10, 16, dtype=torch.float64)
    grid = torch.cat([torch.cat([cells[0], cells[1]], 2), torch.cat([cells[2], cells[3]], 2)], 1)[None]
    for layer in ("layer4", ""):
        e = evidence(Disconnected(net, layer, 2, own), grid, [1], chunk=9)
        found = patch_logits(e)
        row, column = own // 2, own % 2
        inside = found[:, :, 10 * row : 10 * row + 10, 16 * column : 16 * column + 16]
        assert torch.allclose(inside, patch_logits(evidence(net, cells[own : own + 1], [1])), rtol=0, atol=1e-10)
        assert found.shape == (1, 1, 20, 32) and int((found != 0).sum()) == inside.numel() == 160


def test_what_is_refused(net, small, images, pictures, classes, evidence):
    card = registry.card("method", "bagnet")
    assert incompatibility(card, "cnn", True) == "needs a BagNet" and incompatibility(card, "bagnet", True) is None
    with pytest.raises(XaibenchError, match=r"needs a BagNet .*whose patches have logits of their own"):
        method_maps(card, evidence(small, pictures, classes), {})
    with pytest.raises(XaibenchError, match="explains logits, not probabilities"):
        method_maps(card, evidence(net, images, TARGETS, output="probability"), {})


@pytest.mark.parametrize("patch", [9, 17, 33])
def test_own_patches_stand_at_their_centres_and_sum_to_the_logit(patch, net, evidence):
    net = net if patch == 9 else randomised(small_net(patch))
    images = torch.randn(2, 3, patch + 9, patch + 16, dtype=torch.float64)
    e = evidence(net, images, [4, 0, 4], owner=torch.tensor([0, 1, 1]), chunk=1)
    found = own_patch_logits(e)
    assert found.shape == (3, 1, patch + 9, patch + 16) and e.runner.forwards == 2
    assert torch.allclose(found.sum((1, 2, 3)), net(images)[[0, 1, 1], [4, 0, 4]], rtol=0, atol=1e-10)
    expected = torch.zeros_like(found)
    for pair, (image, target) in enumerate(zip(images[[0, 1, 1]], (4, 0, 4), strict=True)):
        for row in range(2):
            for column in range(3):
                shown = image[None, :, 8 * row : 8 * row + patch, 8 * column : 8 * column + patch]
                half = (patch - 1) // 2
                expected[pair, 0, 8 * row + half, 8 * column + half] = net(shown)[0, target] / 6
    assert torch.allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("zero", [[0.0, 0.0, 0.0], [0.5, -0.25, 1.0]])
def test_less_a_blank_patch_a_map_sums_to_what_a_blank_image_loses(zero, net, images, evidence):
    colour = torch.tensor(zero, dtype=torch.float64)
    e = evidence(net, images, TARGETS, zero=colour)
    blank = net(colour[:, None, None].expand_as(images[0])[None])[0, TARGETS]
    lost = net(images)[range(3), TARGETS] - blank
    assert torch.allclose(own_patch_logits(e, less_blank=True).sum((1, 2, 3)), lost, rtol=0, atol=1e-10)


@pytest.mark.parametrize("less_blank", [False, True])
@pytest.mark.parametrize("own", [0, 3])
def test_own_patches_of_disconnected_cells(own, less_blank, net, evidence):
    cells = torch.randn(4, 3, 10, 16, dtype=torch.float64)
    grid = torch.cat([torch.cat([cells[0], cells[1]], 2), torch.cat([cells[2], cells[3]], 2)], 1)[None]
    found = own_patch_logits(evidence(Disconnected(net, "layer4", 2, own), grid, [1]), less_blank)
    row, column = own // 2, own % 2
    inside = found[:, :, 10 * row : 10 * row + 10, 16 * column : 16 * column + 16]
    alone = own_patch_logits(evidence(net, cells[own : own + 1], [1]), less_blank)
    assert torch.allclose(inside, alone, rtol=0, atol=1e-10) and alone.abs().sum() > 0
    assert torch.equal(found.abs().sum(), inside.abs().sum())


def test_a_dilated_network_has_more_patches_of_its_own(evidence):
    torch.manual_seed(3)
    dense = small_net(17).eval()
    assert dilate_last_stage(dense, "layer4", sample_input(3, 33), 5) == 1
    image = torch.randn(1, 3, 33, 33, dtype=torch.float64)
    found = own_patch_logits(evidence(randomised(dense), image, [2]))
    assert found.count_nonzero() == 25 and torch.allclose(found.sum(), dense(image)[0, 2], rtol=0, atol=1e-10)


def test_the_variant_is_a_card_that_refuses_the_same(small, images, pictures, classes, net, evidence):
    card = registry.card("method", "bagnet-own")
    assert card.role == "variant" and "paper" not in card.tags
    assert incompatibility(card, "cnn", True) == "needs a BagNet" and incompatibility(card, "bagnet", True) is None
    with pytest.raises(XaibenchError, match="needs a BagNet"):
        method_maps(card, evidence(small, pictures, classes), {})
    with pytest.raises(XaibenchError, match="explains logits, not probabilities"):
        method_maps(card, evidence(net, images, TARGETS, output="probability"), {})
