"""Many methods on many images: pairs by matrix products, and few resamples, against all pairs one by one in all."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from xaibench.analysis import pair_differences, step_down
from xaibench.analysis.bootstrap import resampled_counts
from xaibench.analysis.pair_differences import described
from xaibench.analysis.rank_sets import surely_better

IMAGES, METHODS = 2500, 12


def scores_of(kind: str, seed: int, images: int = IMAGES, methods: int = METHODS) -> np.ndarray:
    """Scores (images, methods) whose differences are normal, have a long tail, take three values, are mostly zero, or
    some of each with twins."""
    rng = np.random.default_rng([seed, 7])
    image, step = rng.normal(0, 0.2, (images, 1)), np.linspace(0, 0.15, methods)
    found = {
        "normal": step + image + rng.normal(0, 0.2, (images, methods)),
        "tail": step + image + 0.1 * rng.pareto(2.1, (images, methods)),
        "three values": (rng.random((images, methods)) < 0.3 + step).astype(float),
        "mostly zero": image + (rng.random((images, methods)) < 0.02 + step / 2) * rng.normal(0.1, 0.2, (images, 1)),
    }
    if kind in found:
        return found[kind]
    mixed = np.hstack([each[:, :4] for each in found.values()])
    twins = [mixed[:, 0], mixed[:, 1] + 1e-15, mixed[:, 2] + 1e-4 * rng.normal(size=images), mixed[:, 3] + 0.1]
    return np.column_stack([mixed, *twins])


KINDS = ("normal", "tail", "three values", "mostly zero", "mixed")


def in_full(scores: np.ndarray, resamples: int, seed: int, level: float = 0.95) -> np.ndarray:
    """Romano and Wolf's step-down with every statistic of every resample, for pairs that all have a bootstrap."""
    images, methods = scores.shape
    counts = np.concatenate(list(resampled_counts(images, resamples, seed)))
    pairs = list(combinations(range(methods), 2))
    t, observed = np.empty((resamples, len(pairs))), np.empty(len(pairs))
    for place, (i, j) in enumerate(pairs):
        d = scores[:, i] - scores[:, j]
        residuals = d - d.mean()
        shift = counts @ residuals / images
        observed[place] = abs(d.mean()) / d.std()
        t[:, place] = np.abs(shift) / np.sqrt(counts @ residuals**2 / images - shift**2)
    better, left = np.zeros((methods, methods), bool), list(range(len(pairs)))
    while left:
        limit = np.sort(np.append(t[:, left].max(axis=1), np.inf))[::-1][int((1 - level) * (resamples + 1))]
        found = [place for place in left if observed[place] > limit]
        for i, j in (pairs[place] for place in found):
            better[(i, j) if scores[:, i].mean() > scores[:, j].mean() else (j, i)] = True
        left = [place for place in left if place not in found]
        if not found:
            break
    return better


@pytest.fixture
def one_by_one(monkeypatch):
    """A function that makes every pair be described and tested by its differences alone."""
    return lambda: monkeypatch.setattr(pair_differences, "SAMPLE", 1 << 60)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.parametrize("seed", range(2))
def test_the_same_pairs_are_told_apart_as_by_all_statistics(kind, seed):
    scores = scores_of(kind, seed)
    expected = in_full(scores, 400, seed)
    assert 0 < expected.sum() < METHODS * (METHODS - 1) / 2
    assert np.array_equal(surely_better(scores, resamples=400, seed=seed), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_by_products_are_those_of_differences(kind, one_by_one):
    scores = scores_of(kind, 0)
    found, better = described(scores), surely_better(scores, resamples=300)
    one_by_one()
    expected = described(scores)
    assert np.array_equal(better, surely_better(scores, resamples=300))
    np.testing.assert_allclose(found.mean, expected.mean, rtol=0, atol=1e-15)
    np.testing.assert_allclose(found.deviation, expected.deviation, rtol=1e-12, atol=0)
    seen = np.isnan(found.mode)
    assert seen.any() and seen.all() == (kind in KINDS[:3])
    assert (found.others[seen] <= expected.others[seen]).all() and (found.others[seen] >= 64).all()
    for name in ("mode", "others"):
        assert np.array_equal(getattr(found, name)[~seen], getattr(expected, name)[~seen])


@pytest.mark.parametrize("kind", KINDS)
def test_no_resample_has_a_smaller_mean_of_squares_than_the_least(kind):
    scores = scores_of(kind, 1)
    pairs = described(scores)
    residuals = scores[:, pairs.first] - scores[:, pairs.second] - pairs.mean
    for counts in resampled_counts(IMAGES, 500, 3):
        assert (counts @ residuals**2 / IMAGES >= pairs.least).all()
    assert kind != "normal" or (pairs.least > 0.5 * pairs.deviation**2).all(), "else nothing is gained"


@pytest.mark.slow
def test_few_pairs_are_resampled_one_by_one(monkeypatch):
    """And of those that are not told apart no p is known, but that it is too large."""
    asked = []
    of_pairs = step_down.differences_of
    monkeypatch.setattr(step_down, "differences_of", lambda s, a, b: asked.append(len(a)) or of_pairs(s, a, b))
    monkeypatch.setattr("xaibench.analysis.bootstrap.BLOCK", 50 * 10_000)  # resamples of a block: 50
    scores = scores_of("normal", 0, 10_000, 40)
    pairs = described(scores)
    p = step_down.step_down(scores, pairs, 200, 0, 0.05)
    assert sum(asked) < 0.05 * 4 * len(pairs.mean), "of four blocks of resamples"
    every = step_down.step_down(scores, pairs, 200, 0)
    assert np.array_equal(p[p <= 0.05], every[every <= 0.05]) and 0 < (p > 0.05).sum() < 780


@pytest.mark.parametrize("nearly", [0.0, 1e-3, 10.0])
def test_a_first_guess_that_is_wrong_changes_nothing(monkeypatch, nearly):
    """The guess is where pairs are no longer told apart: of all pairs, of some, or of none."""
    scores = scores_of("normal", 2)
    expected = surely_better(scores, resamples=200)

    def guess(drawn, pairs):
        yield slice(0, len(pairs.mean)), np.full((len(drawn), len(pairs.mean)), nearly)

    monkeypatch.setattr(step_down, "_nearly", guess)
    assert 0 < expected.sum() < 66 and np.array_equal(surely_better(scores, resamples=200), expected)


def test_blocks_of_pairs_pass_on_the_largest_statistic(monkeypatch):
    scores = scores_of("normal", 0, 100)
    pairs = described(scores)
    every = step_down.step_down(scores, pairs, 200, 0)
    monkeypatch.setattr(step_down, "CACHED", 600)
    assert np.array_equal(step_down.step_down(scores, pairs, 200, 0), every)
    few = step_down.step_down(scores, pairs, 200, 0, 0.05)
    assert np.array_equal(few[every <= 0.05], every[every <= 0.05]) and (few > 0.05).sum() == (every > 0.05).sum() > 0
