from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from xaibench.analysis.rank_correlation import order_of, rank_correlation


@given(st.integers(3, 9).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 4), min_size=n, max_size=n)] * 2)))
def test_tau_and_rho_are_those_of_scipy_with_ties(two):
    x, y = np.array(two, dtype=float)
    found = rank_correlation(order_of(x), order_of(y))
    if np.ptp(x) and np.ptp(y):
        assert found.tau == pytest.approx(kendalltau(x, y).statistic)
        assert found.rho == pytest.approx(spearmanr(x, y).statistic)
    else:
        assert np.isnan(found.tau) and np.isnan(found.rho)


def test_many_at_a_time_are_each_alone():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50, 7))
    found = rank_correlation(order_of(x), order_of(y))
    assert found.tau == pytest.approx([kendalltau(a, b).statistic for a, b in zip(x, y, strict=True)])
    assert found.rho == pytest.approx([spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)])


def test_what_differs_by_rounding_is_a_tie():
    assert not order_of(np.array([0.1 + 0.2, 0.3])).any() and order_of(np.array([0.31, 0.3]))[0, 1] == 1
