"""Discordance by hand, and the number of images against simulations with a known effect."""

import math

import numpy as np
import pytest
from scipy import stats

from xaibench.judging.response import (
    MOST_IMAGES,
    discordant_pairs,
    dose_response,
    effect_of,
    images_needed,
    power_of,
    steps_needed,
)


def test_pairs_by_hand():
    quality = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [1.0, 1.0, 1.0], [2.0, 3.0, 1.0], [np.nan, 2.0, 3.0]])
    found = discordant_pairs(quality)
    assert found.discordant.tolist() == pytest.approx([0, 1, 1, 1 / 3, 1])
    assert found.tied.tolist() == pytest.approx([0, 0, 1, 0, 0])
    assert np.isnan(discordant_pairs(np.full((1, 3), np.nan)).discordant).all()


def test_noise_is_discordant_in_half_of_the_pairs():
    quality = np.random.default_rng(0).normal(size=(4000, 5))
    found = discordant_pairs(quality)
    assert found.discordant.mean() == pytest.approx(0.5, abs=0.015)
    assert found.tied.sum() == 0


def test_response_is_the_mean_with_an_interval_around_it():
    quality = np.random.default_rng(1).normal([1.0, 0.0], 1.0, size=(200, 2))
    quality = np.vstack([quality, [np.nan, 5.0]])
    found = dose_response(quality)
    assert found[:, 0] == pytest.approx(quality[:200].mean(axis=0))
    half = 1.96 * quality[:200].std(axis=0, ddof=1) / math.sqrt(200)
    assert found[:, 2] - found[:, 0] == pytest.approx(half, rel=0.2)
    assert np.isnan(dose_response(np.full((3, 2), np.nan))).all()


@pytest.mark.parametrize(("effect", "images"), [(0.3, 90), (0.8, 15), (2.0, 5)])
def test_power_agrees_with_simulation(effect, images):
    rng = np.random.default_rng(2)
    drawn = rng.normal(effect, 1.0, size=(20_000, images))
    found = stats.ttest_1samp(drawn, 0.0, axis=1)
    simulated = np.mean((found.pvalue < 0.05) & (found.statistic > 0))
    assert power_of(effect, images) == pytest.approx(simulated, abs=0.012)


@pytest.mark.parametrize("effect", [0.15, 0.5, 1.0, 3.0])
def test_images_needed_is_the_least_number_with_that_power(effect):
    needed = images_needed(effect)
    assert needed.status == "reached"
    count = int(needed.images)
    assert power_of(effect, count) >= 0.8
    assert count == 2 or power_of(effect, count - 1) < 0.8
    normal = ((1.959964 + 0.841621) / effect) ** 2
    assert normal <= count <= normal + 4


def test_effect_is_unbiased_for_few_images():
    drawn = np.random.default_rng(3).normal(0.8, 1.0, size=(20_000, 8))
    assert np.mean([effect_of(each) for each in drawn]) == pytest.approx(0.8, abs=0.012)
    assert effect_of(np.array([1.0, np.nan])) != effect_of(np.array([1.0, np.nan]))  # NaN
    assert effect_of(np.zeros(4)) == 0 and effect_of(np.full(4, -0.5)) == -10
    assert images_needed(effect_of(np.full(4, 0.5))).images == 3


def test_what_is_never_told_apart_has_a_status():
    assert images_needed(-1.0).status == images_needed(0.0).status == "wrong way"
    assert images_needed(math.nan).status == images_needed(1e-4).status == "not reached"
    assert images_needed(1e-4).images == math.inf > MOST_IMAGES


def test_steps_take_the_mean_effect_over_networks():
    rng = np.random.default_rng(4)
    one, two = (np.stack([d + rng.normal(size=30), rng.normal(size=30)], 1) for d in (1.0, 3.0))
    wanted = (effect_of(one[:, 0] - one[:, 1]) + effect_of(two[:, 0] - two[:, 1])) / 2
    assert steps_needed([one, two]) == [images_needed(wanted)]


def test_noise_on_many_networks_needs_many_images_or_never_does():
    rng = np.random.default_rng(5)
    steps = [step for _ in range(50) for step in steps_needed([rng.normal(size=(8, 5)) for _ in range(7)])]
    assert np.mean([step.status != "reached" for step in steps]) == pytest.approx(0.5, abs=0.08)
    assert np.quantile([step.images for step in steps], 0.1) > 50
