"""What a design choice changes, against means by hand, SciPy's tests and a hand-computed Satterthwaite interval."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from xaibench.analysis.arm import Arm
from xaibench.analysis.changes import change_intervals
from xaibench.analysis.comparison import compare, spread
from xaibench.analysis.intervals import mean_intervals

METHODS, KINDS = ("a", "b", "noise"), ("method", "variant", "control")


def arm(name, scores, images=None, methods=METHODS, kinds=KINDS, accuracies=()):
    scores = np.asarray(scores, dtype=float)
    images = images or tuple(f"{i}" for i in range(scores.shape[1]))
    return Arm(name, scores, methods, kinds, tuple(images), accuracies)


def test_changes_by_hand():
    before = arm("x", [[[0.1, 0.5, 0.0], [0.3, 0.7, 0.0]]])
    after = arm("y", [[[0.4, 0.5, 0.9], [0.4, 0.5, 0.9]]])
    found = compare(before, after)
    rows = found.table.set_index("method")
    assert rows.loc["a", ["before", "after", "change"]].tolist() == pytest.approx([0.2, 0.4, 0.2])
    assert rows.loc["b", ["before", "after", "change"]].tolist() == pytest.approx([0.6, 0.5, -0.1])
    assert (found.improved, found.count, found.change) == (1, 2, pytest.approx(0.05))  # the control is in neither
    assert found.table["method"].tolist() == ["noise", "a", "b"]
    assert found.agreement == pytest.approx(stats.kendalltau([0.2, 0.6], [0.4, 0.5]).statistic)
    assert not found.enough


def test_lower_is_better_turns_what_improves():
    noise = 0.01 * np.random.default_rng(0).normal(size=(2, 5, 4, 3))
    before, after = arm("x", 0.5 + noise[0]), arm("y", 0.4 + noise[1])
    assert compare(before, after).improved == 0 and compare(before, after, higher=False).improved == 2
    assert compare(before, after, higher=False).clearly == 2 and compare(before, after).enough
    assert (compare(before, after).worsened, compare(before, after, higher=False).worsened) == (2, 0)
    assert not replace(compare(before, after), confounded=True).enough
    few = compare(arm("x", before.scores[:4]), after)
    assert not few.enough and few.trainings == (4, 5)


def test_images_are_paired_by_name_and_missing_methods_are_said():
    before = arm("x", [[[1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [9.0, 0.0, 0.0]]], images=("i", "j", "only here"))
    after = arm("y", [[[3.0, 7.0], [2.0, 7.0]]], images=("j", "i"), methods=("a", "new"), kinds=("method", "method"))
    found = compare(before, after)
    assert found.images == 2 and found.missing == ("b", "new", "noise")
    assert found.table[["method", "change"]].to_numpy().tolist() == [["a", pytest.approx(1.0)]]
    assert np.isnan(found.low) and not found.table["clear"].any(), "both images change by one, which has no spread"
    with pytest.raises(ValueError, match="no image"):
        compare(before, arm("z", [[[1.0, 1.0, 1.0]]], images=("k",)))


def test_one_training_is_the_studentised_bootstrap_of_paired_images():
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(2, 1, 40, 2))
    expected = mean_intervals((second - first)[0], seed=4)
    assert np.array_equal(change_intervals(first, second, seed=4), expected)
    several = np.concatenate([second, second + 1])
    assert np.array_equal(change_intervals(first, several), mean_intervals(several.mean(axis=0) - first[0]))


def test_without_variation_between_images_it_is_welchs_interval():
    rng = np.random.default_rng(0)
    hard = rng.normal(size=(1, 30, 1))  # what an image is worth to every network
    first, second = rng.normal(size=(3, 1, 2)) + hard, 0.5 * rng.normal(size=(6, 1, 2)) + hard
    oracle = stats.ttest_ind(second.mean(axis=1), first.mean(axis=1), equal_var=False).confidence_interval()
    np.testing.assert_allclose(change_intervals(first, second), (oracle.low, oracle.high), rtol=1e-9)


def test_without_variation_between_trainings_it_is_the_paired_interval_of_student():
    rng = np.random.default_rng(0)
    first, second = np.tile(rng.normal(size=(2, 1, 12, 3)), (1, 4, 1, 1))
    oracle = stats.ttest_rel(second[0], first[0]).confidence_interval()
    np.testing.assert_allclose(change_intervals(first, second), (oracle.low, oracle.high), rtol=1e-9)


def test_both_parts_by_hand():
    """Trainings of 0 and 2 against 3 and 3: variance 2 / 2; changes 1, 3 of two images: variance 2 / 2; df = 4 / 2."""
    first = np.array([[0.5, -0.5], [2.5, 1.5]])[..., None]
    second = np.array([[2.5, 3.5], [2.5, 3.5]])[..., None]
    half = stats.t.ppf(0.975, 2) * np.sqrt(2)
    low, high = change_intervals(first, second)
    assert (low[0], high[0]) == (pytest.approx(2 - half), pytest.approx(2 + half))
    assert change_intervals(first / 4, second / 4, (0, 1))[1][0] == 1, "no change is larger than the range"


def test_no_interval_where_nothing_varies():
    flat = np.full((3, 4, 1), 0.5)
    assert np.isnan(change_intervals(flat, flat)).all() and np.isnan(change_intervals(flat, flat + 1)).all()
    one = flat[:1]
    assert np.isnan(change_intervals(one, one, (0, 1))).all(), "equal on all images is a tie, whatever the range"


def test_another_method_changes_no_interval():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 3, 10, 4))
    for trainings in (1, 3):
        whole = change_intervals(first[:trainings], second[:trainings])
        part = change_intervals(first[:trainings, :, 2:], second[:trainings, :, 2:])
        np.testing.assert_allclose(part, np.array(whole)[:, 2:])


def test_the_best_method_of_each_training_is_a_ranked_one():
    found = arm("x", [[[0.1, 0.2, 0.9]], [[0.4, 0.3, 0.9]]])
    assert found.best() == [("b", pytest.approx(0.2)), ("a", pytest.approx(0.4))]
    assert found.best(higher=False) == [("a", pytest.approx(0.1)), ("b", pytest.approx(0.3))]


def test_spread_between_trainings_by_hand():
    arms = [arm(f"training {i}", [[[value, 0.0, 0.0]] * 2]) for i, value in enumerate((0.1, 0.2, 0.6))]
    row = spread(arms).set_index("method").loc["a"]
    assert row["mean"] == pytest.approx(0.3) and row["deviation"] == pytest.approx(np.std([0.1, 0.2, 0.6], ddof=1))
    assert (row["lowest"], row["highest"], row["trainings"]) == (0.1, 0.6, 3)
