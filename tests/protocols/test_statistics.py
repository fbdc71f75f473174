"""Ranks and Spearman's correlation against SciPy."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata, spearmanr

from xaibench.protocols.statistics import average_ranks, spearman

TIED = st.integers(-3, 3).map(float)
FREE = st.floats(-1e6, 1e6, allow_subnormal=False)
PAIRS = st.sampled_from([TIED, FREE]).flatmap(lambda elements: arrays(np.float64, (2, 3, 16), elements=elements))


@settings(max_examples=100, deadline=None)
@given(PAIRS)
def test_ranks_are_scipys_average_ranks(values):
    np.testing.assert_array_equal(average_ranks(torch.from_numpy(values)).numpy(), rankdata(values, axis=-1))


@settings(max_examples=150, deadline=None)
@given(PAIRS)
def test_correlations_are_scipys(values):
    ours = spearman(*torch.from_numpy(values)).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [spearmanr(a, b).statistic for a, b in zip(*values, strict=True)]
    np.testing.assert_allclose(ours, expected, atol=1e-12, equal_nan=True)


def test_hand_computed_ranks_and_correlation():
    assert average_ranks(torch.tensor([30.0, 10.0, 30.0, 20.0])).tolist() == [3.5, 1.0, 3.5, 2.0]
    assert float(spearman(torch.tensor([1.0, 2, 3, 4]), torch.tensor([1.0, 2, 4, 3]))) == pytest.approx(0.8)
    assert float(spearman(torch.tensor([1.0, 2, 3]), torch.tensor([3.0, 2, 1]))) == -1.0


def test_float32_values_are_ranked_in_float64():
    assert average_ranks(torch.rand(2, 5)).dtype == spearman(torch.rand(5), torch.rand(5)).dtype == torch.float64


@pytest.mark.parametrize("bad", [[1.0, 1.0, 1.0], [1.0, float("nan"), 2.0]])
def test_constant_sides_and_nan_have_no_correlation(bad):
    good, bad = torch.tensor([1.0, 3.0, 2.0]), torch.tensor(bad)
    assert spearman(bad, good).isnan() and spearman(good, bad).isnan()
    assert spearman(torch.stack([good, bad]), torch.stack([good, good])).isnan().tolist() == [False, True]
