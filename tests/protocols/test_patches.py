"""Cells of a grid, their sums, and what replaces them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from xaibench.errors import XaibenchError
from xaibench.protocols.patches import blur, cell_masks, cell_sums, check_grid, replacement, spread

SIZES = [(16, 16), (24, 8), (8, 40)]


def box(size: tuple[int, int], grid: int, cell: int) -> tuple[slice, slice]:
    height, width = size[0] // grid, size[1] // grid
    row, column = divmod(cell, grid)
    return slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("grid", [1, 2, 4, 8])
def test_cells_run_row_by_row_and_tile_the_image(size, grid):
    cells = torch.arange(grid**2)
    masks = cell_masks(size, grid, cells)
    assert masks.shape == (grid**2, 1, *size) and (masks.sum(0) == 1).all()
    maps = torch.randn(2, 1, *size, dtype=torch.float64)
    sums = cell_sums(maps, grid)
    for cell in range(grid**2):
        expected = torch.zeros(size, dtype=torch.bool)
        expected[box(size, grid, cell)] = True
        assert torch.equal(masks[cell, 0], expected)
        assert torch.allclose(sums[:, cell], maps[:, 0][:, expected].sum(1), rtol=1e-12)


def test_masks_follow_the_cells_that_are_asked_for():
    masks = cell_masks((8, 8), 4, torch.tensor([7, 2, 7]))
    assert torch.equal(masks[0], masks[2]) and masks[1, 0, 0, 4] and masks[0, 0, 2, 6] and not masks[1, 0, 2, 6]


def test_sums_of_equal_cells_tie_exactly_in_float32():
    values = torch.rand(14, 14)
    tiled = values.repeat(4, 4)[None, None]
    assert len(cell_sums(tiled, 4).unique()) == 1
    assert len(cell_sums(torch.full((1, 1, 224, 224), 0.1), 4).unique()) == 1
    assert len(cell_sums(tiled.flip(2), 4).unique()) == 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("grid", [2, 4, 8])
def test_spreading_is_undone_by_summing(size, grid):
    values = torch.randn(3, grid**2, dtype=torch.float64)
    maps = spread(values, size)
    assert maps.shape == (3, 1, *size)
    assert torch.allclose(cell_sums(maps, grid), values, rtol=1e-12)
    rows, columns = box(size, grid, grid)
    assert len(maps[0, 0, rows, columns].unique()) == 1


@pytest.mark.parametrize(("size", "grid"), [((15, 16), 4), ((16, 18), 4), ((224, 224), 3), ((16, 16), 0)])
def test_sizes_that_do_not_divide_are_refused(size, grid):
    message = rf"images of {size[0]}x{size[1]} pixels do not divide into {grid}x{grid}"
    with pytest.raises(XaibenchError, match=message):
        check_grid(size, grid)
    if grid:
        with pytest.raises(XaibenchError, match=message):
            cell_sums(torch.zeros(1, 1, *size), grid)


def published_blur(image: np.ndarray) -> np.ndarray:
    """The sheet's formula at 224: 51 taps, exp(-(x / (2 sigma))^2) with sigma 41, normalised, zero-padded by 25."""
    line = np.exp(-((np.arange(51) - 25) ** 2) / (2 * 41.0) ** 2)
    kernel = np.outer(line, line) / np.outer(line, line).sum()
    spectrum = np.fft.rfft2(image, (274, 274)) * np.fft.rfft2(kernel, (274, 274))
    return np.fft.irfft2(spectrum, (274, 274))[..., 25:249, 25:249]


def test_the_blur_is_the_published_one():
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1
    blurred = blur(images)
    np.testing.assert_allclose(blurred.numpy(), published_blur(images.numpy()), atol=1e-6)
    assert torch.allclose(blur(images.float()).double(), blurred, atol=1e-5)
    assert blurred[0, 0, 0, 0] < 0.5 * blurred[0, 0, 112, 112], "zero padding darkens the border"


def test_the_blur_scales_with_the_image():
    """A smooth image at 112 pixels is blurred as the same image at 224 is."""
    y, x = torch.meshgrid(*[(torch.arange(224) + 0.5) / 224] * 2, indexing="ij")
    image = torch.exp(-((y - 0.4) ** 2 + (x - 0.6) ** 2) / 0.02)[None, None].double()
    large = torch.nn.functional.avg_pool2d(blur(image), 2)
    small = blur(torch.nn.functional.avg_pool2d(image, 2))
    assert float((large - small).abs().max()) < 0.02 * float(large.max())


def test_a_blurred_image_does_not_depend_on_its_batch():
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    assert torch.allclose(blur(images)[2:3], blur(images[2:3]), rtol=1e-12)


CELLS = torch.tensor([0, 5, 5])
IDS = ["a", "a", "b"]


def drawn(seed=0, ids=IDS, cells=CELLS, purpose="deleted cell"):
    return replacement("random", torch.zeros(len(ids), 3, 32, 32), cells, seed, ids, torch.zeros(3), purpose)


def test_random_cells_are_uniform_and_bound_to_seed_image_cell_and_purpose():
    values = drawn()
    assert values.shape == (3, 3, 32, 32)
    assert stats.kstest(values.flatten().numpy(), stats.uniform(-1, 2).cdf).pvalue > 0.01
    assert torch.equal(drawn(ids=["b", "a"], cells=torch.tensor([5, 0])), values[[2, 0]])
    others = [values[1], values[2], drawn(seed=1)[0], drawn(purpose="training cell 3")[0]]
    assert all(float((values[0] * other).mean().abs()) < 0.05 for other in others)


def test_zero_is_the_zero_of_the_encoded_space():
    zero = torch.tensor([0.5, -1.0, 2.0])
    value = replacement("zero", torch.ones(3, 3, 8, 8), CELLS, 0, IDS, zero)
    assert torch.equal(value.expand(3, 3, 8, 8), zero[:, None, None].expand(3, 3, 8, 8))


def test_blur_is_that_of_each_image():
    images = torch.randn(3, 3, 16, 16)
    assert torch.equal(replacement("blur", images, CELLS, 0, IDS, torch.zeros(3)), blur(images))


def test_other_baselines_are_refused():
    with pytest.raises(XaibenchError, match=r"unknown baseline 'mean' .* zero, random, blur"):
        replacement("mean", torch.zeros(1, 3, 8, 8), CELLS[:1], 0, ["a"], torch.zeros(3))
