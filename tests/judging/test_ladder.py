"""The order of a ladder is known: by correlation in double precision with NumPy, and by closed formulas."""

import math

import numpy as np
import pytest
import torch

from xaibench.judging.ladder import DOSES, KINDS, NOISE, falls, ladder, likeness


def a_truth(seed: int = 0, side: int = 64) -> torch.Tensor:
    """Two patches of unequal size and sign on zeros."""
    truth = torch.zeros(side, side, dtype=torch.float64)
    top = 6 + 4 * seed
    truth[top : top + 14, 10:28] = 1.5
    truth[36:46, 40:52] = -0.5 if seed % 2 else 0.5
    return truth


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", range(4))
def test_likeness_falls_with_the_dose(kind, number):
    truth = a_truth(number)
    maps = ladder(truth, kind, 0, f"image {number}")
    assert maps.shape == (len(DOSES), 64, 64) and maps.dtype == torch.float64
    assert torch.equal(maps[0], truth)
    found = [np.corrcoef(each.numpy().ravel(), truth.numpy().ravel())[0, 1] for each in maps]
    assert np.all(np.diff(found) < 0), found
    assert np.allclose(likeness(maps, truth)[0].numpy(), found)


def test_noise_and_random_have_the_correlation_of_the_formula():
    truth = a_truth()
    for dose, map_ in zip(DOSES, ladder(truth, "noise", 0, "a"), strict=True):
        found = np.corrcoef(map_.numpy().ravel(), truth.numpy().ravel())[0, 1]
        assert found == pytest.approx(1 / math.sqrt(1 + (NOISE * dose) ** 2), abs=1e-9)
    for dose, map_ in zip(DOSES, ladder(truth, "random", 0, "a"), strict=True):
        found = np.corrcoef(map_.numpy().ravel(), truth.numpy().ravel())[0, 1]
        assert found == pytest.approx((1 - dose) / math.hypot(1 - dose, dose), abs=1e-9)


def test_flips_are_all_flipped_at_the_whole_dose():
    truth = a_truth()
    maps = ladder(truth, "sign", 0, "a")
    assert torch.equal(maps[-1], -truth)
    assert torch.equal(maps.abs(), truth.abs().expand_as(maps))


def test_half_random_moves_squares_and_keeps_the_values():
    truth = a_truth()
    last = ladder(truth, "half-random", 0, "a")[-1]
    assert torch.equal(last.flatten().sort().values, truth.flatten().sort().values)


def test_blur_keeps_the_sum_and_shift_the_values():
    truth = a_truth()
    for map_ in ladder(truth, "blur", 0, "a"):
        assert map_.sum() == pytest.approx(float(truth.sum()))
    for map_ in ladder(truth, "shift", 0, "a"):
        assert torch.equal(map_.flatten().sort().values, truth.flatten().sort().values)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_depend_on_seed_and_image_alone(kind):
    truth = a_truth()
    assert torch.equal(ladder(truth, kind, 3, "a"), ladder(truth, kind, 3, "a"))
    if kind != "blur":
        assert not torch.equal(ladder(truth, kind, 3, "a"), ladder(truth, kind, 4, "b"))


def test_no_ladder_without_a_sure_order():
    assert ladder(torch.ones(64, 64), "noise", 0, "a") is None
    assert ladder(torch.full((64, 64), torch.nan), "noise", 0, "a") is None
    one = torch.zeros(64, 64)
    one[5, 5] = 1.0  # one square: a quarter of it cannot be flipped
    assert ladder(one, "sign", 0, "a") is None
    stripes = (torch.arange(64) % 8 < 4).double().expand(64, 64)
    assert ladder(stripes, "shift", 0, "a") is None  # it comes back to itself
    assert not falls(torch.stack([stripes, stripes]), stripes)
