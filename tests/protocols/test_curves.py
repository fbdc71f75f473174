"""Orders with drawn ties, shares of ties, images on the way, areas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import trapezoid

from xaibench.protocols import curves
from xaibench.protocols.statistics import area_under_curve, constant_or_not_finite

NAN = float("nan")


@given(st.integers(1, 60), st.integers(1, 60))
def test_steps_are_equal_to_the_nearest_whole_unit(units, steps):
    found = curves.removal_counts(units, steps)
    assert found[0] == 0 and found[-1] == units and len(found) == steps + 1
    assert all(abs(count - step * units / steps) <= 0.5 for step, count in enumerate(found))


def test_the_published_steps_are_whole_rows_of_pixels():
    assert curves.removal_counts(224 * 224, 28) == [8 * 224 * step for step in range(29)]
    assert curves.removal_counts(224 * 224, 32)[:3] == [0, 1568, 3136]


def test_hand_computed_ranks_with_ties():
    values = torch.tensor([[0.5, 2.0, 0.5, -1.0, 2.0, 0.5]])
    ties = torch.tensor([[5, 4, 0, 2, 1, 3]])
    # highest first: 4 before 1, then 5, 0, 2, then 3
    assert curves.removal_places(values, ties).tolist() == [[3, 1, 4, 5, 0, 2]]


def test_ranks_without_ties_are_those_of_a_sort(images):
    values = torch.stack([torch.randperm(300) for _ in range(4)]).float()  # drawn numbers may tie up to rounding
    ties = torch.stack([torch.randperm(300) for _ in range(4)])
    order = curves.removal_places(values, ties)
    for row, place in zip(values.numpy(), order.numpy(), strict=True):
        np.testing.assert_array_equal(np.argsort(-row), np.argsort(place))
    assert torch.equal(299 - order, curves.removal_places(-values, ties))


def test_places_are_the_inverse_of_an_order():
    order = torch.stack([torch.randperm(50) for _ in range(3)])
    assert torch.equal(curves.inverse_orders(order).gather(1, order), torch.arange(50).expand(3, 50))


def test_tied_values_come_in_the_images_own_random_order(net, images, labels, evidence):
    e = evidence(net, images, labels)
    ties = curves.tie_order(e, 384)
    assert torch.equal(ties.sort(1).values, torch.arange(384).expand(6, 384))
    place = curves.inverse_orders(ties)
    half = torch.zeros(6, 384)
    half[:, ::2] = 1
    order = curves.removal_places(half, ties)
    for start in (0, 1):  # within the ones and within the zeros the order is that of the draw, whatever the method
        assert torch.equal(order[:, start::2].argsort(1), place[:, start::2].argsort(1))
    assert not torch.equal(ties[0], ties[1])
    alone = evidence(net, images[3:4], labels[3:4], ["photo 3"])
    assert torch.equal(curves.tie_order(alone, 384)[0], ties[3])
    assert not torch.equal(curves.tie_order(evidence(net, images, labels, seed=1), 384), ties)
    assert torch.equal(curves.tie_order(e.explaining(labels[:2], torch.tensor([5, 5])), 384), ties[[5, 5]])


def test_ties_favour_no_row_of_the_image(net, images, labels, evidence):
    e = evidence(net, images.new_zeros(200, 3, 2, 2), torch.zeros(200, dtype=torch.long))
    first = curves.inverse_orders(curves.tie_order(e, 4)).double().mean(0)
    assert (first - 1.5).abs().max() < 0.3


@pytest.mark.parametrize(
    ("values", "share"), [([1.0, 2, 3, 4], 0), ([1.0, 2, 1, 1], 0.75), ([0.0, -0.0, 3, 4], 0.5), ([7.0, 7, 7, 7], 1)]
)
def test_share_of_ties(values, share):
    assert curves.tied_share(torch.tensor([values])).tolist() == [share]


def test_ties_of_a_map_that_is_not_finite_are_undefined():
    found = curves.tied_scores(torch.tensor([[1.0, NAN, 1.0], [2.0, 2.0, 1.0]]))
    assert found.status == ["undefined-map", "ok"] and found.values[1] == pytest.approx(2 / 3)


def test_maps_that_say_nothing():
    maps = torch.randn(4, 1, 3, 3)
    maps[0], maps[1, 0, 1, 1], maps[2, 0, 0, 2] = 0.3, NAN, float("inf")
    assert constant_or_not_finite(maps).tolist() == [True, True, True, False]


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_scores_on_the_way_are_those_of_a_plain_loop(chunk, net, images, labels, evidence):
    targets, owner = torch.tensor([0, 4, 4]), torch.tensor([2, 2, 5])
    e = evidence(net, images, labels, chunk=chunk).explaining(targets, owner)
    places, after = torch.stack([torch.randperm(384).reshape(16, 24) for _ in range(3)]), images.flip(0)
    found = curves.replaced_scores(e, places, [0, 5, 384], images, after, "probability")
    for pair in range(3):
        for column, amount in enumerate((0, 5, 384)):
            image = images[owner[pair]].clone()
            there = places[pair] < amount
            image[:, there] = after[owner[pair]][:, there]
            expected = net(image[None]).softmax(1)[0, targets[pair]]
            assert float(found[pair, column]) == pytest.approx(float(expected), rel=1e-9)


def test_areas_are_those_of_scipy():
    at, heights = torch.tensor([0.0, 0.1, 0.35, 1.0]).double(), torch.randn(5, 4).double()
    expected = trapezoid(heights.numpy(), at.numpy(), axis=1)
    np.testing.assert_allclose(area_under_curve(at, heights).numpy(), expected, rtol=1e-12)
