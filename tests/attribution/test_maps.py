"""From raw attributions to maps, and what a method may return."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from xaibench.attribution.maps import bilinear, to_map, validate_attributions
from xaibench.errors import XaibenchError


def enlarged(row: np.ndarray, length: int) -> np.ndarray:
    """Linear interpolation of the last axis with corners not aligned, by the position of each pixel's centre."""
    position = np.clip((np.arange(length) + 0.5) * row.shape[-1] / length - 0.5, 0, row.shape[-1] - 1)
    return np.apply_along_axis(lambda values: np.interp(position, np.arange(len(values)), values), -1, row)


@pytest.mark.parametrize("size", [(16, 16), (7, 12), (4, 5)])
@pytest.mark.parametrize("transform", ["raw", "abs"])
def test_channels_are_summed_then_made_absolute_then_enlarged(size, transform):
    raw = torch.randn(3, 6, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    summed = raw.numpy().sum(1)
    summed = np.abs(summed) if transform == "abs" else summed
    expected = enlarged(enlarged(summed, size[1]).swapaxes(1, 2), size[0]).swapaxes(1, 2)
    maps = to_map(raw, size, transform)
    assert maps.shape == (3, 1, *size)
    np.testing.assert_allclose(maps[:, 0].numpy(), expected, rtol=1e-10, atol=1e-12)


def exactly_enlarged(row: list[Fraction], length: int) -> list[Fraction]:
    """`enlarged` without any rounding."""
    found = []
    for pixel in range(length):
        position = Fraction(2 * pixel + 1, 2 * length) * len(row) - Fraction(1, 2)
        position = min(max(position, Fraction(0)), Fraction(len(row) - 1))
        near = position.numerator // position.denominator
        far = min(near + 1, len(row) - 1)
        found.append(row[near] + (position - near) * (row[far] - row[near]))
    return found


@pytest.mark.parametrize(
    ("grid", "size"), [((13, 13), (60, 60)), ((8, 8), (64, 64)), ((5, 3), (7, 20)), ((9, 9), (4, 4))]
)
def test_enlarged_pixels_are_the_exact_values_rounded_once(grid, size):
    raw = torch.randn(1, 1, *grid, generator=torch.Generator().manual_seed(3))
    rows = [exactly_enlarged([Fraction(v) for v in row], size[1]) for row in raw[0, 0].tolist()]
    columns = [exactly_enlarged(list(column), size[0]) for column in zip(*rows, strict=True)]
    exact = [[columns[x][y] for x in range(size[1])] for y in range(size[0])]
    as_floats = np.array([[np.float32(float(value)) for value in row] for row in exact])
    np.testing.assert_array_equal(bilinear(raw, size)[0, 0].numpy(), as_floats)
    # pixels that are equal by the formula are equal, and no others but by chance
    assert len(bilinear(raw, size).unique()) <= len({value for row in exact for value in row})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("grid", [7, 13, 14])
def test_equal_pixels_stay_equal_whatever_the_rounding_of_the_coarse_map(dtype, grid):
    coarse = torch.randn(4, 1, grid, grid, generator=torch.Generator().manual_seed(1), dtype=torch.float64).relu()
    coarse = (coarse + coarse.flip(3)).to(dtype)  # mirrored, as beside zeros, with a border half a cell wide
    ties = []
    for noise in (0.0, 1.0, -1.0):
        given = coarse * (1 + noise * torch.finfo(dtype).eps * torch.arange(4).view(4, 1, 1, 1))
        maps = bilinear(given, (224, 224))
        half = 224 // grid // 2
        assert torch.equal(maps, maps.flip(3))
        for side in (maps, maps.flip(2), maps.mT, maps.mT.flip(2)):
            assert torch.equal(side[:, :, :half], side[:, :, :1].expand(-1, -1, half, -1))
        ties.append([len(one.unique()) for one in maps])
    assert all(abs(a - b) <= 10 for other in ties[1:] for a, b in zip(ties[0], other, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_constant_map_stays_constant_and_keeps_its_dtype(dtype):
    for grid in (1, 3):
        maps = to_map(torch.full((1, 1, grid, grid), 0.3, dtype=dtype), (37, 41))
        assert maps.dtype == dtype and len(maps.unique()) == 1
        torch.testing.assert_close(maps.flatten()[0], torch.tensor(0.3, dtype=dtype), rtol=1e-12, atol=0)


def test_maps_of_the_right_size_stay_as_they_are():
    raw = torch.randn(2, 1, 8, 8)
    assert torch.equal(to_map(raw, (8, 8)), raw)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned NoneType, not a tensor"),
        (np.zeros((2, 1, 4, 4)), "returned ndarray, not a tensor"),
        ([torch.zeros(2, 1, 4, 4)], "returned list, not a tensor"),
        (torch.zeros(2, 4, 4), r"returned shape \(2, 4, 4\)"),
        (torch.zeros(3, 1, 4, 4), r"returned shape \(3, 1, 4, 4\), not \(pairs, C, h, w\) for 2 pairs"),
        (torch.zeros(2, 0, 4, 4), r"returned shape \(2, 0, 4, 4\)"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.int64), "returned torch.int64, not floating point"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.bool), "returned torch.bool, not floating point"),
    ],
)
def test_wrong_returns_are_refused_with_the_methods_name(returned, message):
    with pytest.raises(XaibenchError, match=f"method mine {message}"):
        validate_attributions(returned, 2, "mine")


def test_right_returns_lose_their_graph_only():
    raw = torch.randn(2, 3, 4, 4, requires_grad=True)
    assert (
        torch.equal(validate_attributions(raw * 1, 2, "mine"), raw)
        and not validate_attributions(raw * 1, 2, "mine").requires_grad
    )
