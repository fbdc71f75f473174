"""Deletions in training: one uniformly drawn cell of about half of the images, or a random share of the pixels."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest, chisquare, kstest

from xaibench.cards import Alignment
from xaibench.errors import XaibenchError
from xaibench.protocols.patches import blur
from xaibench.training.deletion import PatchDeletion, RandomMasks, make_deletion

ZERO = torch.tensor([9.0, 8.0, 7.0])
IDS = [f"train/{i}" for i in range(1200)]


def deletion(grid=4, baseline="zero", probability=0.5, seed=0) -> PatchDeletion:
    return PatchDeletion(Alignment(grid=grid, baseline=baseline, probability=probability), ZERO, seed)


def deleted_cells(before: torch.Tensor, after: torch.Tensor, grid: int) -> list[int | None]:
    """The number of the cell that each image has lost, checked to be one whole cell, or None."""
    found = []
    side = before.shape[2] // grid
    for old, new in zip(before, after, strict=True):
        changed = (old != new).any(0)
        if not changed.any():
            found.append(None)
            continue
        row, column = (int(v) // side for v in changed.nonzero()[0])
        expected = torch.zeros_like(changed)
        expected[row * side : (row + 1) * side, column * side : (column + 1) * side] = True
        assert torch.equal(changed, expected)
        found.append(row * grid + column)
    return found


@pytest.mark.parametrize("probability", [0.5, 0.2, 1.0])
@pytest.mark.parametrize("grid", [2, 4])
def test_the_asked_share_of_images_loses_one_uniformly_drawn_cell(grid, probability):
    images = torch.randn(1200, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    cells = deleted_cells(images, deletion(grid, probability=probability)(images, IDS, 0), grid)
    lost = [cell for cell in cells if cell is not None]
    assert binomtest(len(lost), 1200, probability).pvalue > 0.01
    assert chisquare(torch.bincount(torch.tensor(lost), minlength=grid**2).numpy()).pvalue > 0.01


def test_whether_and_where_are_independent():
    images = torch.randn(1200, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    often = deleted_cells(images, deletion(probability=1.0)(images, IDS, 0), 4)
    half = deleted_cells(images, deletion(probability=0.5)(images, IDS, 0), 4)
    assert all(cell in (None, where) for cell, where in zip(half, often, strict=True))
    assert {cell for cell in half if cell is not None} == set(range(16))


def test_zero_is_the_zero_of_the_encoded_space():
    images = torch.randn(20, 3, 8, 8)
    after = deletion(probability=1.0)(images, IDS[:20], 0)
    changed = (after != images).any(1, keepdim=True).expand_as(images)
    assert torch.equal(after[changed], ZERO[:, None, None].expand_as(images)[changed])


def test_blur_is_that_of_the_whole_image():
    images = torch.randn(6, 3, 16, 16)
    after = deletion(baseline="blur", probability=1.0)(images, IDS[:6], 0)
    changed = after != images
    assert changed.any() and torch.equal(after[changed], blur(images)[changed])


def test_random_values_are_in_minus_one_to_one_and_new_in_every_epoch():
    images = torch.full((50, 3, 8, 8), 5.0)
    make = deletion(grid=2, baseline="random", probability=1.0)
    epochs = [make(images, IDS[:50], epoch) for epoch in (0, 1)]
    values = [after[after != 5] for after in epochs]
    assert all(v.abs().max() <= 1 and v.min() < -0.9 and v.max() > 0.9 for v in values)
    both = (epochs[0] != 5) & (epochs[1] != 5)
    assert both.any() and not (epochs[0][both] == epochs[1][both]).any()


@pytest.mark.parametrize("baseline", ["zero", "random", "blur"])
def test_deletions_are_bound_to_seed_epoch_and_image_not_to_the_batch(baseline):
    images = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    ids, make = IDS[:32], deletion(baseline=baseline)
    together = make(images, ids, 3)
    assert torch.equal(make(images.flip(0), ids[::-1], 3).flip(0), together)
    parts = [make(images[i : i + 7], ids[i : i + 7], 3) for i in range(0, 32, 7)]
    assert torch.allclose(torch.cat(parts), together, rtol=0, atol=1e-6)
    assert torch.equal(make(images, ids, 3), together)
    assert not torch.equal(make(images, ids, 4), together)
    assert not torch.equal(deletion(baseline=baseline, seed=1)(images, ids, 3), together)


def test_the_images_that_are_given_are_left_as_they_are():
    images = torch.randn(8, 3, 8, 8)
    before = images.clone()
    deletion(probability=1.0)(images, IDS[:8], 0)
    assert torch.equal(images, before)


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(XaibenchError, match="10x10 pixels do not divide into 4x4"):
        deletion()(torch.zeros(1, 3, 10, 10), ["a"], 0)


def masks(share=0.4, baseline="zero", seed=0) -> RandomMasks:
    return RandomMasks(Alignment(kind="pixels", baseline=baseline, probability=share), ZERO, seed)


def test_images_lose_a_uniform_share_of_their_pixels_in_all_channels():
    images = torch.randn(1200, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    after = masks(0.4)(images, IDS, 0)
    changed = after != images
    assert torch.equal(changed.any(1), changed.all(1)), "all channels of a pixel go together"
    assert torch.equal(after[changed], ZERO[:, None, None].expand_as(images[0]).expand_as(images)[changed])
    shares = changed[:, 0].double().mean((1, 2)) / 0.4
    assert kstest(shares.numpy(), "uniform").pvalue > 0.01, "from none to the largest share"
    where = changed[:, 0].double().mean(0)
    assert abs(float(where.mean()) - 0.2) < 0.01 and float(where.std()) < 0.03, "everywhere alike"


def test_masks_depend_on_image_epoch_and_seed_only():
    images = torch.randn(4, 3, 8, 8)
    alone, together = masks()(images[2:3], IDS[2:3], 5), masks()(images, IDS[:4], 5)
    assert torch.equal(alone[0], together[2])
    assert not torch.equal(masks()(images, IDS[:4], 6), together)
    assert not torch.equal(masks(seed=1)(images, IDS[:4], 5), together)
    blurred = masks(baseline="blur")(images, IDS[:4], 5)
    changed = blurred != images
    assert torch.equal(blurred[changed], blur(images)[changed])


def test_the_kind_of_an_alignment_decides_what_goes():
    assert isinstance(make_deletion(masks().alignment, ZERO, 0), RandomMasks)
    assert isinstance(make_deletion(deletion().alignment, ZERO, 0), PatchDeletion)
    assert make_deletion(None, ZERO, 0) is None
    assert make_deletion(Alignment(kind="parts", probability=0.2), ZERO, 0) is None, "the data set drops them"
