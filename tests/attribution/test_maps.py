"""From raw attributions to maps, and what a method may return."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xaibench.attribution.maps import to_map, validate_attributions
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
