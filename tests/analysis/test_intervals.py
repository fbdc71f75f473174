"""Studentised intervals against a double loop over the same resamples, exact cases and invariances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from xaibench.analysis import bootstrap
from xaibench.analysis.bootstrap import resampled_counts
from xaibench.analysis.intervals import bounded_intervals, mean_intervals, paired_difference
from xaibench.analysis.rank_sets import surely_better
from xaibench.errors import XaibenchError


def direct(scores, weights, resamples, seed):
    """The textbook's formula, one resample after the other, with repeated rows in the place of counts."""
    ratio = lambda rows: scores[rows].sum() / weights[rows].sum()  # noqa: E731

    def deviation(rows):
        residuals = scores[rows] - ratio(rows) * weights[rows]
        return np.sqrt(np.mean((residuals - residuals.mean()) ** 2)) / weights[rows].mean()

    every, t = np.arange(len(scores)), []
    for counts in np.concatenate(list(resampled_counts(len(scores), resamples, seed))):
        rows = np.repeat(every, counts)
        shift, spread = ratio(rows) - ratio(every), deviation(rows)
        t.append(shift / spread if spread > 1e-9 else np.sign(shift) * np.inf)
    ordered, tail = np.sort(t), int(0.025 * (1 - 1 / len(scores)) * (resamples - 1))
    return ratio(every) - ordered[-1 - tail] * deviation(every), ratio(every) - ordered[tail] * deviation(every)


@pytest.mark.parametrize(("images", "weighted"), [(20, False), (20, True), (4, False)])
def test_ends_are_those_of_the_formula(random_scores, images, weighted):
    """Of four images one resample in 64 is of one value."""
    scores = random_scores[:images]
    weights = np.random.default_rng(1).integers(0, 4, images).astype(float) if weighted else np.ones(images)
    sums = scores * weights[:, None]
    low, high = mean_intervals(sums, weights if weighted else None, resamples=400, seed=3)
    oracle = [direct(column, weights, 400, 3) for column in sums.T]
    np.testing.assert_allclose(np.stack([low, high], axis=1), oracle, rtol=1e-9)


def test_normal_scores_give_the_interval_of_student():
    """With many images t* has the normal distribution, and with few images that of Student."""
    scores = np.random.default_rng(0).normal(size=(400, 30))
    low, high = mean_intervals(scores, resamples=4000)
    oracle = stats.t.interval(0.95, 399, scores.mean(axis=0), stats.sem(scores, axis=0))
    np.testing.assert_allclose(((high - low) / (oracle[1] - oracle[0])).mean(), 1, atol=0.02)


def test_the_long_tail_gets_the_longer_arm():
    scores = np.random.default_rng(0).exponential(size=(15, 200))
    low, high = mean_intervals(scores)
    longer = (high - scores.mean(axis=0)) / (scores.mean(axis=0) - low)
    assert np.median(longer) > 1.5
    np.testing.assert_allclose(mean_intervals(-scores)[0], -high, rtol=1e-6)


def test_shift_scale_and_order_of_images_do_not_matter(random_scores):
    low, high = mean_intervals(random_scores)
    moved = mean_intervals(5 + 3 * random_scores)
    np.testing.assert_allclose(moved, (5 + 3 * low, 5 + 3 * high), rtol=1e-9)
    order = np.random.default_rng(1).permutation(len(random_scores))
    np.testing.assert_allclose(mean_intervals(random_scores[order]), (low, high), atol=0.02)
    bounds = (-9, 9)
    assert np.array_equal(mean_intervals(random_scores, bounds=bounds), (low, high)), "a wide range changes nothing"


def test_another_method_and_smaller_blocks_change_nothing(random_scores, monkeypatch):
    once = mean_intervals(random_scores, bounds=(-1, 1), seed=5)
    np.testing.assert_allclose(mean_intervals(random_scores[:, :2], bounds=(-1, 1), seed=5), np.array(once)[:, :2])
    assert not np.allclose(once, mean_intervals(random_scores, bounds=(-1, 1), seed=6))
    monkeypatch.setattr(bootstrap, "BLOCK", 700)
    np.testing.assert_allclose(mean_intervals(random_scores, bounds=(-1, 1), seed=5), once)


@pytest.mark.parametrize("hits", [0, 1, 15, 16])
def test_hits_and_misses_have_the_exact_interval(hits):
    """With few of one kind many resamples have no deviation, so the ends are those of Clopper and Pearson."""
    scores = np.repeat([1.0, 0.0], [hits, 16 - hits])[:, None]
    low, high = mean_intervals(scores, bounds=(0, 1), resamples=20_000)
    oracle = stats.binomtest(hits, 16).proportion_ci(method="exact")
    assert low[0] == pytest.approx(oracle.low, abs=0.006) and high[0] == pytest.approx(oracle.high, abs=0.006)


def test_scores_of_one_value_have_the_interval_of_an_unseen_one():
    """n images say nothing below .025^(1/n) about how frequent another score is."""
    low, high = bounded_intervals(np.full((8, 1), 0.5), np.ones(8), (-1.0, 1.0), 40_000)
    assert low[0] != bounded_intervals(np.full((8, 1), 0.5), np.ones(8), (-1.0, 1.0), 40_000, seed=1)[0][0]
    unseen = 1 - 0.025 ** (1 / 8)
    assert low[0] == pytest.approx(0.5 - 1.5 * unseen, abs=0.02)
    assert high[0] == pytest.approx(0.5 + 0.5 * unseen, abs=0.01)


def test_intervals_stay_in_the_range():
    scores = np.minimum(1, np.random.default_rng(2).beta(0.5, 0.1, size=(6, 300)))
    low, high = mean_intervals(scores, bounds=(0, 1))
    assert np.all((low >= 0) & (high <= 1) & (low <= scores.mean(axis=0)) & (scores.mean(axis=0) <= high))
    assert np.nanmax(mean_intervals(scores)[1]) > 1, "without it some do not"


@pytest.mark.parametrize("scores", [[0.5], [0.5] * 8, [0.1 + 0.2, 0.3, 0.3], [0, 0, 0, 0, 0, 0, 0, 1.0]])
def test_without_a_range_there_is_no_interval_where_resamples_do_not_vary(scores):
    low, high = mean_intervals(np.array(scores)[:, None])
    assert np.isnan(low[0]) and np.isnan(high[0])
    low, high = mean_intervals(np.array(scores)[:, None], bounds=(0, 0.3))  # not the range of these, but of the third
    assert np.isnan(low[0]) == (max(scores) > 0.3)


def test_paired_difference(random_scores):
    first, second = random_scores[:, 0], random_scores[:, 4]
    found = paired_difference(first, second, seed=3)
    low, high = mean_intervals((first - second)[:, None], seed=3)
    assert found == (pytest.approx((first - second).mean()), low[0], high[0]) and found.clear
    assert not paired_difference(first, first).clear and np.isnan(paired_difference(first, first).low)
    always = paired_difference(np.ones(16), np.zeros(16), bounds=(0, 1))
    assert always.clear and always.high == pytest.approx(1), "a difference of two scores in [0, 1] is in [-1, 1]"


@pytest.mark.parametrize("scores", [np.zeros((0, 2)), np.zeros(3), np.array([[np.nan]]), np.array([[np.inf]])])
def test_what_has_no_mean_is_refused(scores):
    with pytest.raises(ValueError, match="scores"):
        mean_intervals(scores)


@pytest.mark.parametrize("function", [mean_intervals, surely_better, bootstrap.bootstrap_means])
@pytest.mark.filterwarnings("error")
def test_scores_whose_squares_overflow_are_refused(function):
    scores = np.arange(24.0).reshape(12, 2) ** 2
    function(scores * 1e90)
    with pytest.raises(XaibenchError, match="too large for means"):
        function(scores * 1e200)
