"""Sign-flip tests and their intervals against SciPy's permutation test, a search over shifts, and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import permutation_test, ttest_1samp

from xaibench.analysis.sign_flip import holm, sign_flip, subsets_of


def flip_test(difference: np.ndarray, seed: int = 0):
    """The test of differences (images,) against methods of other scores on the same images."""
    difference = np.asarray(difference, dtype=float)
    other = np.random.default_rng(11).normal(size=len(difference)).round(3)
    return sign_flip(subsets_of(np.stack([other + difference, other], axis=1), seed), 0, 1)


@pytest.mark.parametrize(
    ("kind", "images"),
    [(kind, n) for kind in ("normal", "skewed", "few values") for n in (2, 5, 8, 11)] + [("normal", 16)],
)
def test_p_is_that_of_all_flips(kind, images):
    draws = np.random.default_rng(images)
    values = {
        "normal": draws.normal(0.4, 1, images), "skewed": draws.exponential(size=images) - 0.4,
        "few values": draws.choice([-0.25, 0.0, 0.25, 0.5], images),
    }[kind]  # fmt: skip
    expected = permutation_test(
        (values, np.zeros(images)), lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples",
        n_resamples=np.inf, vectorized=True,
    ).pvalue  # fmt: skip
    assert flip_test(values).p == pytest.approx(expected, abs=1e-12)
    assert flip_test(-values).p == pytest.approx(expected, abs=1e-12)


def test_drawn_flips_are_near_all_flips_and_count_the_identity():
    values = np.random.default_rng(5).normal(0.3, 1, 40)
    assert flip_test(values).p == pytest.approx(ttest_1samp(values, 0).pvalue, abs=0.01)
    assert flip_test(values) == flip_test(values) and flip_test(values).p != flip_test(values, seed=1).p
    assert flip_test(np.full(40, 0.5)).p == 1 / 50_000  # no drawn flip is as far from 0: the add-one rule


@pytest.mark.parametrize("images", [6, 9, 16, 17, 40])
def test_the_interval_has_the_shifts_that_are_not_rejected(images):
    values = np.random.default_rng(images).exponential(size=images) - 0.5
    low, high = flip_test(values)[1:]
    step = 1e-6
    inside = [flip_test(values - shift).p > 0.05 for shift in (low + step, (low + high) / 2, high - step)]
    outside = [flip_test(values - shift).p > 0.05 for shift in (low - step, high + step)]
    assert inside == [True] * 3 and outside == [False] * 2


@pytest.mark.parametrize("images", [8, 13, 30])
def test_the_interval_leaves_out_zero_exactly_where_p_is_small(images):
    draws = np.random.default_rng(images)
    seen = set()
    for _ in range(30):
        p, low, high = flip_test(draws.choice([-0.2, 0.0, 0.1, 0.3], images) + draws.choice([0.0, 0.1]))
        assert (low > 0 or high < 0) == (p <= 0.05)
        seen.add(p <= 0.05)
    assert seen == {True, False}


def test_five_images_cannot_give_an_interval():
    assert np.isnan(flip_test([1, 2, 3, 4, 5.0])[1:]).all() and flip_test([1, 2, 3, 4, 5.0]).p == 2 / 32
    assert np.isfinite(flip_test([1, 2, 3, 4, 5.0, 6])[1:]).all()


@pytest.mark.parametrize("images", [1, 8, 40])
def test_the_same_scores_have_p_one(images):
    """Also where they are sums in another order."""
    scores = np.random.default_rng(0).random((images, 1))
    other = (scores + 0.1) - 0.1
    found = sign_flip(subsets_of(np.hstack([scores, other])), 0, 1)
    assert found.p == 1 and (images < 6 or (found.low, found.high) == (0, 0))


def test_other_methods_change_no_p():
    scores = np.random.default_rng(0).random((30, 5))
    assert sign_flip(subsets_of(scores), 1, 3) == sign_flip(subsets_of(scores[:, [1, 3]]), 0, 1)


def test_what_has_no_test():
    for wrong in (np.empty((0, 2)), np.zeros(3), np.array([[np.nan, 1.0]])):
        with pytest.raises(ValueError, match="scores"):
            subsets_of(wrong)


@pytest.mark.slow
def test_holm_is_that_of_statsmodels():
    multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
    draws = np.random.default_rng(0)
    for p in (draws.random(30) ** 3, np.array([0.01, 0.01, 1.0, 0.03]), np.array([0.2])):
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-12)
    assert holm(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.03, 0.06])  # by hand


@pytest.mark.slow
@pytest.mark.parametrize("images", [8, 16, 32, 64])
def test_how_often_it_errs(images):
    """Share of p <= 0.05 where the means are equal: exact for symmetric differences, also with many ties; with skew it
    errs more, as Student's t does, and less with more images."""
    draws = np.random.default_rng(images)
    flips = np.vstack([np.ones(images), draws.choice([-1.0, 1.0], (1999, images))])
    kinds = {
        "normal": draws.normal(size=(images, 3000)),
        "ties": (draws.random((images, 3000)) < 0.3) * draws.normal(size=(images, 3000)),
        "skew": 0.8 / 6.8 - draws.beta(0.8, 6, (images, 3000)),
    }
    rates = {}
    for name, values in kinds.items():
        p = np.mean(np.abs(flips @ values) >= np.abs(values.sum(axis=0)) - 1e-9, axis=0)
        for column in range(0, 3000, 1000):  # the rates are those of the function itself
            assert flip_test(values[:, column]).p == pytest.approx(p[column], abs=0.05)
        rates[name] = np.mean(p <= 0.05)
    assert rates["normal"] < 0.065 and rates["ties"] < 0.06, rates
    assert rates["skew"] < {8: 0.12, 16: 0.10, 32: 0.09, 64: 0.075}[images], rates


@pytest.mark.slow
def test_how_often_holm_errs_anywhere():
    """Six equally good methods on 16 images: one wrong claim or more in at most 5 % of boards."""
    draws, wrong = np.random.default_rng(0), 0
    for _ in range(200):
        subsets = subsets_of(draws.normal(size=(16, 1)) + draws.normal(size=(16, 6)))
        p = np.array([sign_flip(subsets, j, k).p for j in range(6) for k in range(j)])
        wrong += bool((holm(p) <= 0.05).any())
    assert wrong / 200 <= 0.05 + 0.03
