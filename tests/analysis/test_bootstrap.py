from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from xaibench.analysis import bootstrap
from xaibench.analysis.bootstrap import bootstrap_means, ranks

# Quarters add up exactly in any order, so ties are ties.
means = hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(-8, 8))


def test_quantiles_agree_with_scipy(random_scores):
    resamples = 20_000
    low, high = np.quantile(bootstrap_means(random_scores, resamples, seed=1), [0.025, 0.975], axis=0)
    oracle = stats.bootstrap((random_scores,), np.mean, axis=0, n_resamples=resamples, method="percentile",
                             vectorized=True, rng=np.random.default_rng(2)).confidence_interval  # fmt: skip
    # Monte-Carlo error of a 2.5 % quantile: sqrt(p (1 - p) / resamples) over the density there.
    sd = random_scores.std(axis=0) / np.sqrt(len(random_scores))
    error = np.sqrt(0.025 * 0.975 / resamples) / (stats.norm.pdf(stats.norm.ppf(0.025)) / sd)
    assert np.all(np.abs(low - oracle.low) < 4.5 * np.sqrt(2) * error)
    assert np.all(np.abs(high - oracle.high) < 4.5 * np.sqrt(2) * error)


def test_variance_is_that_of_the_bootstrap(random_scores):
    got = bootstrap_means(random_scores, 20_000).var(axis=0)
    np.testing.assert_allclose(got, random_scores.var(axis=0) / len(random_scores), rtol=0.06)


def test_two_images_by_hand():
    """Of two images 0 and 1 the mean is 0, 1/2 or 1 with chances 1/4, 1/2, 1/4."""
    found = bootstrap_means(np.array([[0.0], [1.0]]), 8000)[:, 0]
    assert set(found) == {0.0, 0.5, 1.0}
    np.testing.assert_allclose([np.mean(found == value) for value in (0, 0.5, 1)], [0.25, 0.5, 0.25], atol=0.025)


def test_same_seed_same_numbers_and_another_method_changes_nothing(random_scores, monkeypatch):
    once = bootstrap_means(random_scores, 300, seed=5)
    assert np.array_equal(once, bootstrap_means(random_scores, 300, seed=5))
    assert not np.array_equal(once, bootstrap_means(random_scores, 300, seed=6))
    np.testing.assert_allclose(bootstrap_means(random_scores[:, :2], 300, seed=5), once[:, :2], rtol=1e-12)
    monkeypatch.setattr(bootstrap, "BLOCK", 1)
    np.testing.assert_allclose(bootstrap_means(random_scores, 300, seed=5), once, rtol=1e-12)


@pytest.mark.parametrize("scores", [np.zeros((0, 2)), np.zeros(3), np.array([[np.nan]]), np.array([[np.inf]])])
def test_what_has_no_mean_is_refused(scores):
    with pytest.raises(ValueError, match="scores"):
        bootstrap_means(scores)


@given(means, st.booleans())
def test_ranks_are_those_of_scipy(values, higher):
    values = values / 4
    oracle = stats.rankdata(-values if higher else values, method="min", axis=1)
    assert np.array_equal(ranks(values, higher), oracle)


def test_sums_in_another_order_are_still_a_tie():
    assert ranks(np.array([0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1, 0.5])).tolist() == [1, 1, 3]
