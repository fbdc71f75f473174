"""Controls: maps that know nothing of the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from xaibench.attribution import controls
from xaibench.errors import XaibenchError

DRAW = [controls.random_map, controls.constant_map, controls.centre_prior, controls.edges]


@pytest.mark.parametrize("control", DRAW)
def test_controls_ask_nothing_of_the_model_and_nothing_of_the_target(control, small, pictures, classes, evidence):
    e = evidence(small, pictures, classes)
    maps = control(e)
    assert maps.shape == (4, 1, 16, 16) and e.runner.forwards == 0
    assert torch.equal(maps, control(e.explaining(classes.flip(0))))


@pytest.mark.parametrize("control", DRAW)
def test_controls_follow_the_owners_of_pairs(control, small, pictures, classes, evidence):
    e = evidence(small, pictures, classes)
    owner = torch.tensor([2, 0, 2, 3, 1])
    assert torch.equal(control(e.explaining(torch.tensor([0, 1, 2, 3, 4]), owner)), control(e)[owner])


def test_the_random_map_is_uniform_and_bound_to_image_and_seed(small, classes, evidence):
    images = torch.zeros(4, 3, 40, 40)
    maps = controls.random_map(evidence(small, images, classes))
    assert stats.kstest(maps.flatten().numpy(), "uniform").pvalue > 0.01
    flat = maps.flatten(1).numpy()
    assert np.abs(np.corrcoef(flat) - np.eye(4)).max() < 0.1
    alone = controls.random_map(evidence(small, images[:1], classes[:1], ["photo 2"]))
    assert torch.equal(alone[0], maps[2])
    assert not torch.equal(maps, controls.random_map(evidence(small, images, classes, seed=1)))


def test_the_constant_map_is_constant(small, pictures, classes, evidence):
    assert controls.constant_map(evidence(small, pictures, classes)).unique().tolist() == [1.0]


@pytest.mark.parametrize("sigma", [0.25, 0.1])
def test_the_centre_prior_is_a_gaussian_in_the_middle(sigma, small, classes, evidence):
    bump = controls.centre_prior(evidence(small, torch.zeros(4, 3, 20, 32), classes), sigma=sigma)[0, 0].double()
    y = stats.norm.pdf(np.arange(20) + 0.5, 10, sigma * 20)
    x = stats.norm.pdf(np.arange(32) + 0.5, 16, sigma * 32)
    expected = np.outer(y, x) * 2 * np.pi * sigma**2 * 20 * 32
    np.testing.assert_allclose(bump.numpy(), expected, rtol=1e-4, atol=1e-12)


def test_edges_are_the_sobel_magnitude_of_the_channel_mean(small, pictures, classes, evidence):
    grey = pictures.mean(1).numpy()
    expected = [np.hypot(*(ndimage.sobel(g, axis, mode="nearest") for axis in (0, 1))) for g in grey]
    maps = controls.edges(evidence(small, pictures, classes))[:, 0]
    np.testing.assert_allclose(maps.numpy(), np.stack(expected), rtol=1e-10, atol=1e-12)


def test_the_oracle_cannot_be_asked_without_a_protocol(small, pictures, classes, evidence):
    with pytest.raises(XaibenchError, match="belongs to a protocol"):
        controls.oracle(evidence(small, pictures, classes))
