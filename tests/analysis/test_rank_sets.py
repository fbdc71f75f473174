"""Rank sets against the test written out in loops, cases by hand, ties, and invariances."""

from __future__ import annotations

import tracemalloc
from itertools import combinations
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from xaibench.analysis import bootstrap, pair_differences
from xaibench.analysis import rank_sets as module
from xaibench.analysis.bootstrap import resampled_counts
from xaibench.analysis.letters import letters
from xaibench.analysis.pair_differences import PairDifferences, described
from xaibench.analysis.rank_sets import rank_sets, surely_better
from xaibench.analysis.step_down import step_down


def written_out(scores, resamples, seed, steps=99):
    """Romano and Wolf's step-down: the maximum over pairs that are left, until no further pair exceeds its quantile."""
    images, methods = scores.shape
    pairs = list(combinations(range(methods), 2))
    differences = {(i, j): scores[:, i] - scores[:, j] for i, j in pairs}
    observed = {pair: abs(d.mean()) / d.std() for pair, d in differences.items()}
    drawn = [np.repeat(np.arange(images), c) for c in np.concatenate(list(resampled_counts(images, resamples, seed)))]
    t = {pair: np.array([abs(d[rows].mean() - d.mean()) / d[rows].std() for rows in drawn])
         for pair, d in differences.items()}  # fmt: skip
    better, left = np.zeros((methods, methods), bool), set(pairs)
    for _ in range(steps):
        if not left:
            break
        largest = np.max([t[pair] for pair in left], axis=0)
        limit = np.sort(np.append(largest, np.inf))[::-1][int(0.05 * (resamples + 1))]
        found = {pair for pair in left if observed[pair] > limit}
        for i, j in found:
            better[(i, j) if differences[i, j].mean() > 0 else (j, i)] = True
        if not found:
            break
        left -= found
    return better


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_test_written_out(seed):
    rng = np.random.default_rng(seed)
    scores = np.linspace(0, 0.6, 6) + rng.normal(size=(20, 1)) + 0.25 * rng.gamma(0.7, size=(20, 6))
    oracle = written_out(scores, 300, seed)
    assert 0 < oracle.sum() < 15, "some pairs are told apart, some are not"
    assert np.array_equal(surely_better(scores, resamples=300, seed=seed), oracle)
    assert np.array_equal(surely_better(-scores, False, resamples=300, seed=seed), oracle)


def test_steps_tell_more_pairs_apart_than_the_first_one():
    rng = np.random.default_rng(0)
    scores = np.linspace(0, 1, 8) + 0.5 * rng.normal(size=(15, 8))
    first, every = (written_out(scores, 200, 0, steps) for steps in (1, 99))
    assert first.sum() < every.sum() and np.array_equal(surely_better(scores, resamples=200), every)


@pytest.mark.parametrize("seed", [17, 25, 32])
def test_a_pair_waits_for_those_with_a_larger_statistic(seed):
    """Here a pair has a smaller p than one with a larger statistic, which stops the steps."""
    rng = np.random.default_rng(seed)
    scores = np.linspace(0, 0.5, 5) + rng.normal(size=(12, 1)) + 0.3 * rng.gamma(0.5, size=(12, 5))
    assert np.array_equal(surely_better(scores, resamples=60, seed=seed), written_out(scores, 60, seed))


def test_small_blocks_change_nothing(random_scores, monkeypatch):
    once = surely_better(random_scores, resamples=300)
    assert 0 < once.sum() < 10
    monkeypatch.setattr(pair_differences, "BLOCK", 64)
    monkeypatch.setattr("xaibench.analysis.step_down.CACHED", 64)
    monkeypatch.setattr(bootstrap, "BLOCK", 700)
    assert np.array_equal(surely_better(random_scores, resamples=300), once)


def test_rank_sets_by_hand():
    """The first is better than the third and fourth, the second than the fourth."""
    better = np.zeros((4, 4), bool)
    better[0, 2] = better[0, 3] = better[1, 3] = True
    low, high = rank_sets(better)
    assert (low.tolist(), high.tolist()) == ([1, 1, 2, 3], [2, 3, 4, 4])
    assert letters(better, range(4)) == ["a", "ab", "bc", "c"]


def test_far_methods_have_one_rank_each_and_near_ones_all():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(32, 1))
    low, high = rank_sets(surely_better(image + np.arange(5) + 0.1 * rng.normal(size=(32, 5))))
    assert low.tolist() == high.tolist() == [5, 4, 3, 2, 1]
    low, high = rank_sets(surely_better(rng.normal(size=(32, 5))))
    assert low.tolist() == [1] * 5 and high.tolist() == [5] * 5


def test_an_identical_method_is_tied_and_changes_no_other_pair():
    rng = np.random.default_rng(4)
    scores = np.arange(4) + 0.6 * rng.normal(size=(16, 4))
    alone = surely_better(scores)
    assert alone.any()
    rounded = scores[:, :1] * 3 / 3 + np.where(np.arange(16) % 2, 1e-16, 0)[:, None]
    for twin in (scores[:, :1], rounded, scores[:, :1] + 1e-15):
        found = surely_better(np.hstack([scores, twin]))
        assert not found[0, 4] and not found[4, 0]
        assert np.array_equal(found[:4, :4], alone) and np.array_equal(found[4, 1:4], alone[0, 1:])


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 5)), elements=st.integers(-4, 4)),
    st.permutations(range(5)),
)
def test_shift_scale_and_order_of_methods_do_not_matter(scores, order):
    order = [place for place in order if place < scores.shape[1]]
    found = surely_better(scores / 4, resamples=100)
    assert np.array_equal(found, surely_better(scores[:, order] / 4, resamples=100)[np.ix_(*[np.argsort(order)] * 2)])
    assert np.array_equal(found, surely_better(7 * scores + 3, resamples=100))
    assert not (found & found.T).any() and not found.diagonal().any()


@pytest.mark.parametrize("images", [1, 3, 5, 16, 64])
@pytest.mark.parametrize("differing", [1, 2, 5])
def test_methods_that_differ_on_few_images_are_never_told_apart(images, differing):
    rng = np.random.default_rng(images)
    first = rng.random(images)
    second = first.copy()
    second[:differing] += 0.5
    assert not surely_better(np.stack([first, second], axis=1)).any()


def test_few_differing_images_of_one_pair_do_not_hide_other_pairs():
    """Such a pair has no deviation in a third of all resamples; it must not take the test from the others."""
    rng = np.random.default_rng(0)
    scores = np.stack([np.zeros(30), np.zeros(30), np.full(30, 0.5)], axis=1) + 0.05 * rng.normal(size=(30, 3))
    scores[:, 1] = scores[:, 0]
    scores[0, 1] += 0.2
    assert surely_better(scores).tolist() == [[False] * 3, [False] * 3, [True, True, False]]


def test_resamples_without_deviation_count_as_the_largest():
    """27 of 30 images differ by .5, three by 0: resamples that lack these three reach the pair, and no others do."""
    scores = np.zeros((30, 2))
    scores[:27, 0] = 0.5
    pairs = described(scores)
    assert (pairs.mode[0], pairs.others[0]) == (0.5, 3)
    lacking = sum((counts[:, 27:].sum(axis=1) == 0).sum() for counts in resampled_counts(30, 2000, 0))
    assert step_down(scores, pairs, 2000, 0)[0] == (1 + lacking) / 2001 > 0.03


def test_pairs_leave_until_resamples_without_deviation_are_rare():
    """With 64 images six deviating ones are missing from a share of (58 / 64)^64 = .00184: five pairs make .0092."""
    count = np.array([6] * 12 + [64, 5, 64])
    pairs = PairDifferences(*(np.ones(15) for _ in range(5)), count, np.zeros(15))._replace(
        deviation=np.array([1.0] * 14 + [0.0])
    )
    tested = module._testable(pairs, 64)
    assert tested[:12].sum() == 5 and tested[12:].tolist() == [True, False, False]


def test_all_pairs_share_the_errors(monkeypatch):
    """One pair is left to the range, so two of three shares are for the bootstrap: .0333, not .05."""
    rng = np.random.default_rng(0)
    scores = np.stack([np.ones(30), np.zeros(30), 0.5 + 0.1 * rng.normal(size=30)], axis=1)
    for p, found in ((0.033, 3), (0.034, 1)):
        monkeypatch.setattr(module, "step_down", lambda *_, p=p: np.full(2, p))
        assert surely_better(scores, bounds=(0, 1)).sum() == found


def test_rounding_is_no_difference():
    scores = np.random.default_rng(0).random((10, 1))
    pairs = described(np.hstack([scores, scores + 1e-14]))
    assert (pairs.mean[0], pairs.deviation[0], pairs.mode[0], pairs.others[0]) == (0, 0, 0, 0)


def test_the_same_difference_on_all_images_needs_a_range():
    """Without one an image that was not seen may outweigh all others."""
    hits = np.stack([np.ones(16), np.zeros(16)], axis=1)
    assert not surely_better(hits).any()
    assert surely_better(hits, bounds=(0, 1)).tolist() == [[False, True], [False, False]]
    assert surely_better(hits, False, bounds=(0, 1)).tolist() == [[False, False], [True, False]]
    for images in range(1, 20):
        small = np.stack([np.full(images, 0.25), np.zeros(images)], axis=1)
        # At most 1 / 1.25 of the images differ by so much if the mean difference is not above zero.
        assert surely_better(small, bounds=(0, 1)).any() == (stats.binom.pmf(images, images, 0.8) <= 0.025)
    assert not surely_better(hits * 2, bounds=(0, 1)).any(), "scores outside have no known range"


@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)).map(lambda s: (s[0], s[0]))))
def test_methods_share_a_letter_if_and_only_if_they_are_not_told_apart(apart):
    better = np.triu(apart, 1)
    texts = letters(better, range(len(better)))
    assert "a" in texts[0] and all(texts)
    for i, j in combinations(range(len(better)), 2):
        assert (not set(texts[i]) & set(texts[j])) == better[i, j]


def test_letters_after_z():
    better = np.triu(np.ones((30, 30), bool), 1)
    assert letters(better, range(30))[25:28] == ["z", "a2", "b2"]


@pytest.mark.slow
def test_time_and_memory_stay_small():
    """Processor time of one thread, and the peak of what numpy allocates."""
    rng = np.random.default_rng(0)
    for images, methods, resamples, seconds in ((64, 24, 2000, 0.5), (16, 250, 2000, 15), (50_000, 24, 100, 5)):
        scores = np.linspace(0.3, 0.9, methods) + 0.2 * rng.normal(size=(images, methods))
        start = process_time()
        surely_better(scores, resamples=resamples)
        assert process_time() - start < seconds, (images, methods)
        tracemalloc.start()
        surely_better(scores, resamples=min(resamples, 500))
        assert tracemalloc.get_traced_memory()[1] < 400 << 20, (images, methods)
        tracemalloc.stop()


@pytest.mark.parametrize("scores", [np.zeros((0, 2)), np.zeros(3), np.array([[np.nan, 1.0]])])
def test_what_has_no_mean_is_refused(scores):
    with pytest.raises(ValueError, match="scores"):
        surely_better(scores)
