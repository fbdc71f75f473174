"""Attacks are found where a protocol does not look at the network, and the gap is the formula's."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from xaibench.judging.attacks import FIXED, attack_gap, basis, combined, search


@pytest.fixture
def e(evidence):
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2)).eval()
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return evidence(net, images, torch.tensor([0, 1, 0, 1]), ["a", "b", "c", "d"])


def test_attacks_do_not_pass_anything_through_the_network(e):
    for attack in FIXED.values():
        assert attack(e).shape == (4, 1, 16, 16)
    assert basis(e).shape[1:] == (4, 1, 16, 16)
    assert e.runner.forward_equivalents == 0


def test_basis_is_standardised_and_the_sum_is_never_negative(e):
    maps = basis(e).double()
    assert maps.mean((3, 4)).abs().max() < 1e-5
    assert (maps.flatten(3).std(3) - 1).abs().max() < 1e-4
    weights = torch.arange(len(maps), dtype=torch.float32) - 3
    found = combined(weights, basis(e)).double()
    assert found.amin((2, 3)).abs().max() < 1e-5
    by_hand = sum(w * m for w, m in zip(weights.double(), maps, strict=True))
    assert torch.allclose(
        found - found.mean((2, 3), keepdim=True), by_hand - by_hand.mean((2, 3), keepdim=True), atol=1e-4
    )


def test_search_finds_a_protocol_that_looks_at_one_direction_alone():
    wanted = torch.tensor([0.3, -2.0, 0.1, 0.5])

    def quality(weights):
        return float(torch.nn.functional.cosine_similarity(weights, wanted, dim=0))

    found = quality(search(quality, 4, 0, "test"))
    assert found > 0.97  # the best single direction has 0.96
    assert torch.equal(search(quality, 4, 0, "test"), search(quality, 4, 0, "test"))


def test_search_goes_on_where_scores_are_undefined():
    assert search(lambda weights: math.nan, 3, 0, "test").shape == (3,)
    found = search(lambda weights: math.nan if weights[1] <= 0 else 1.0, 3, 0, "test")
    assert found[1] > 0


def test_gap_by_hand():
    assert attack_gap(1.0, 0.75, 0.5) == 0.5
    assert attack_gap(1.0, 0.5, 0.5) == 1
    assert attack_gap(1.0, 1.5, 0.5) == -1
    assert np.isnan(attack_gap(0.5, 0.4, 0.5))
    assert np.isnan(attack_gap(0.4, 0.4, 0.5))
    assert np.isnan(attack_gap(math.nan, 0.4, 0.5))
