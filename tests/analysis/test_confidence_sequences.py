"""Betting against a mean over a finite list: the formula of the paper, all orders of small lists, and its edges."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from xaibench.analysis.confidence_sequences import SHARES, log_wealth


def capital(scores, listed, m):
    """The capital of Waudby-Smith and Ramdas (2024), equations (24) and section 5, for scores in [0, 1] and a mean of
    the list m at most, with bets share / m_t, in plain numbers: the mean over the shares after each score."""
    found = []
    for share in SHARES:
        wealth, path = 1.0, []
        for place, score in enumerate(scores):
            left = (listed * m - sum(scores[:place])) / (listed - place)
            wealth *= 1 + share / left * (score - left) if left > 0 else 1
            certain = listed * m < sum(scores[: place + 1])  # nothing below 0 can come
            path.append(wealth := math.inf if certain else wealth)
        found.append(path)
    return np.array(found).mean(axis=0)


@pytest.mark.parametrize("seed", range(20))
def test_wealth_is_that_of_the_papers_formula(seed):
    rng = np.random.default_rng(seed)
    listed = int(rng.integers(12, 60))
    reach = rng.choice([1.0, 2.0, 13.8])
    gaps = rng.uniform(-1, 1, (int(rng.integers(1, listed)), 3)) * reach * rng.uniform(0.05, 1) + 0.1 * reach
    gaps = gaps.clip(-reach, reach)
    expected = [capital((gap + reach) / (2 * reach), listed, 0.5) for gap in gaps.T]
    expected = np.maximum(np.maximum.accumulate(np.transpose(expected)), 1)
    np.testing.assert_allclose(log_wealth(gaps, listed, reach), np.log(expected), rtol=1e-9, atol=1e-9)


def orders(ones, others):
    """All orders of a list of `ones` values 1 and others -1, (length, orders)."""
    length = ones + others
    table = -np.ones((length, math.comb(length, ones)))
    for column, places in enumerate(itertools.combinations(range(length), ones)):
        table[list(places), column] = 1
    return table


@pytest.mark.parametrize(("ones", "others"), [(1, 1), (3, 3), (6, 6), (7, 7), (5, 7), (2, 9), (8, 9)])
def test_no_level_is_reached_in_more_orders_than_it_says(ones, others):
    """Exact: over all orders of a list whose mean is 0 or less, wealth 1/a comes up with probability a at most."""
    table = orders(ones, others)
    highest = np.exp(np.sort(log_wealth(table, len(table), 1.0)[-1])[::-1])
    share = np.arange(1, len(highest) + 1) / len(highest)  # of orders that reach each of these
    assert (highest * share <= 1 + 1e-9).all()


def test_what_the_rest_of_the_list_cannot_undo_is_certain():
    gaps = np.ones((6, 1))
    wealth = log_wealth(gaps, 10, 1.0)[:, 0]
    assert np.isfinite(wealth[:5]).all() and np.isinf(wealth[5])  # the other four cannot outweigh six
    assert np.isfinite(log_wealth(gaps[:5], 10, 1.0)).all()


def test_a_list_that_must_end_in_its_lowest_values_is_no_certain_evidence():
    """Tenths add up inexactly: what is left is exactly at the bound, and only rounding says otherwise."""
    for count in (3, 7, 10, 30):
        gaps = np.array([0.1] * count + [-0.1] * count)[:, None]
        wealth = log_wealth(gaps, 2 * count, 0.1)
        assert np.isfinite(wealth).all()
        assert (wealth[count:] == wealth[count - 1]).all()


@pytest.mark.parametrize("seed", range(5))
def test_a_larger_constant_never_has_more_evidence(seed):
    rng = np.random.default_rng(seed)
    for _ in range(60):
        low, high = np.sort(rng.uniform(-0.9, 0.9, 2))
        gaps = rng.uniform(-1, 1, (int(rng.integers(1, 30)), 5)) ** rng.choice([1, 3]) + rng.uniform(-0.3, 0.3)
        gaps, defined = gaps.clip(-1, 1), rng.random((len(gaps), 5)) < 0.7
        listed = len(gaps) + int(rng.integers(0, 30))
        weak, strong = (log_wealth(np.where(defined, gaps - c, 0), listed, 1 + c) for c in (high, low))
        assert (weak <= strong + 1e-9).all()


def test_columns_do_not_depend_on_each_other(monkeypatch):
    gaps = np.random.default_rng(0).uniform(-1, 1, (20, 7))
    whole = log_wealth(gaps, 25, np.linspace(1, 2, 7))
    monkeypatch.setattr("xaibench.analysis.confidence_sequences.BLOCK", 40)
    np.testing.assert_array_equal(log_wealth(gaps, 25, np.linspace(1, 2, 7)), whole)
    assert log_wealth(np.zeros((4, 0)), 5, 1.0).shape == (4, 0)


@pytest.mark.parametrize("gaps", [np.zeros(3), np.zeros((6, 1)), np.full((2, 1), np.nan), np.full((2, 1), -1.1)])
def test_what_is_no_beginning_of_the_list_is_refused(gaps):
    with pytest.raises(ValueError, match="values"):
        log_wealth(gaps, 5, 1.0)
