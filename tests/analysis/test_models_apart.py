"""Which models are surely explained better: by exact properties, and by a simulation with known truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_rel

from xaibench.analysis import models_apart
from xaibench.analysis.models_apart import better_models


def drawn(means: list[list[float]], images: int, seed: int) -> list[np.ndarray]:
    """Scores of models whose methods have these means, with noise that the methods of an image share in part."""
    rng = np.random.default_rng(seed)
    common = rng.normal(0, 0.1, (images, 1))
    return [np.array(own) + common + rng.normal(0, 0.15, (images, len(own))) for own in means]


def test_a_model_is_better_whose_best_method_is_better_than_every_method_of_the_other():
    one, other = drawn([[0.8, 0.2], [0.5, 0.1, 0.3]], 32, seed=0)
    for method in range(3):  # an independent oracle: Student's t, at the share of one of two methods
        assert ttest_rel(one[:, 0], other[:, method], alternative="greater").pvalue < 0.05 / 2
    assert better_models([one, other]).tolist() == [[False, True], [False, False]]
    assert better_models([-one, -other], higher_is_better=False).tolist() == [[False, True], [False, False]]


def test_long_lists_agree_with_students_t(monkeypatch):
    differences = drawn([[0.03, 0.0, -0.02]], 400, seed=5)[0]
    always, one = np.ones(3), np.zeros(3, int)
    drawn_p = models_apart._one_sided(differences, 20_000, 0, always, one)
    monkeypatch.setattr(models_apart, "LARGE", 0)
    expected = ttest_1samp(differences, 0, alternative="greater").pvalue
    assert models_apart._one_sided(differences, 20_000, 0, always, one) == pytest.approx(expected, rel=1e-9)
    assert drawn_p == pytest.approx(expected, abs=0.01)


def test_what_fits_into_memory_and_claims_that_failed_early_change_no_claim(monkeypatch):
    differences = np.hstack(drawn([[0.2, 0.15, 0.1], [0.2, 0.0], [-0.05, 0.1]], 24, seed=6))
    claims, needed = np.repeat([0, 1, 2], [3, 2, 2]), np.full(7, 0.01)
    p = models_apart._one_sided(differences, 20_000, 0, np.ones(7), claims)  # no claim can fail before the end
    monkeypatch.setattr(models_apart, "PART", 700)
    early = models_apart._one_sided(differences, 20_000, 0, needed, claims)
    holds = [bool((p[claims == claim] <= 0.01).all()) for claim in range(3)]
    assert holds == [bool((early[claims == claim] <= 0.01).all()) for claim in range(3)] == [True, False, False]
    assert (
        (early <= p + 1e-12).all()
        and (early < p).any()
        and early[claims == 0] == pytest.approx(p[claims == 0], abs=1e-9)
    )


def test_one_method_of_the_other_model_that_is_as_good_is_enough():
    one, other = drawn([[0.8, 0.2], [0.1, 0.1]], 32, seed=1)
    assert better_models([one, other])[0, 1]
    assert not better_models([one, np.hstack([other, one[:, :1]])])[0, 1]


def test_identical_models_and_models_without_methods_are_never_apart():
    (one,) = drawn([[0.8, 0.2]], 16, seed=2)
    assert not better_models([one, one, one[:, :0]]).any()


def test_the_order_of_models_changes_nothing():
    scores = drawn([[0.9], [0.5, 0.4], [0.1, 0.05]], 24, seed=3)
    found = better_models(scores)
    assert found[0, 2] and (better_models(scores[::-1])[::-1, ::-1] == found).all()


def test_more_models_need_more_resamples_and_are_told_apart_all_the_same():
    scores = drawn([[0.9]] + [[0.1]] * 15, 16, seed=4)  # 120 pairs: a share below 1 in 2000 each
    assert better_models(scores)[0, 1:].all()


SHAPES = {
    "normal": lambda rng, size: rng.normal(0.5, 0.2, size),
    "skewed": lambda rng, size: 1 - 2 * rng.beta(0.8, 6, size),
    "two values": lambda rng, size: rng.integers(0, 2, size).astype(float),
}


@pytest.mark.slow
@pytest.mark.parametrize("images", [8, 16, 32])
@pytest.mark.parametrize("shape", SHAPES)
def test_models_that_are_as_good_are_seldom_told_apart(images, shape):
    """The best method is chosen on the same images, which must not add errors; one rival of the other model is hardest,
    as all its other methods are worse at a glance."""
    boards, wrong = 400, 0
    for seed in range(boards):
        rng = np.random.default_rng(seed)
        many, few = (SHAPES[shape](rng, (images, 6)) for _ in range(2))
        few[:, 1:] -= 3
        wrong += better_models([many, few])[0, 1]
    print(f"{shape}, {images} images: {wrong} of {boards} boards tell equal models apart")
    assert wrong / boards <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / boards)
