"""What a design choice changes, against means by hand and another nested bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from xaibench.analysis.arm import Arm
from xaibench.analysis.bootstrap import nested_differences
from xaibench.analysis.comparison import compare, spread

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
    before, after = arm("x", np.full((3, 4, 3), 0.5)), arm("y", np.full((3, 4, 3), 0.4))
    assert compare(before, after).improved == 0 and compare(before, after, higher=False).improved == 2
    assert compare(before, after, higher=False).clearly == 2 and compare(before, after).enough
    assert (compare(before, after).worsened, compare(before, after, higher=False).worsened) == (2, 0)


def test_images_are_paired_by_name_and_missing_methods_are_said():
    before = arm("x", [[[1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [9.0, 0.0, 0.0]]], images=("i", "j", "only here"))
    after = arm("y", [[[3.0, 7.0], [2.0, 7.0]]], images=("j", "i"), methods=("a", "new"), kinds=("method", "method"))
    found = compare(before, after)
    assert found.images == 2 and found.missing == ("b", "new", "noise")
    assert found.table[["method", "change"]].to_numpy().tolist() == [["a", pytest.approx(1.0)]]
    assert (found.low, found.high) == (1.0, 1.0)  # both images change by one, so does every resample
    with pytest.raises(ValueError, match="no image"):
        compare(before, arm("z", [[[1.0, 1.0, 1.0]]], images=("k",)))


def test_trainings_widen_the_interval_and_a_shared_image_effect_does_not():
    rng = np.random.default_rng(0)
    hard = rng.normal(size=(1, 200, 1))  # what an image is worth to every network
    same = [arm(name, hard + shift + np.zeros((3, 1, 3))) for name, shift in (("x", 0.0), ("y", 0.1))]
    found = compare(*same)
    assert found.table["ci_low"].to_numpy() == pytest.approx(0.1) and found.table["clear"].all()
    luck = np.array([-0.3, 0.0, 0.3])[:, None, None]  # of a training
    apart = [arm(a.name, a.scores + luck) for a in same]
    wide = compare(*apart)
    assert wide.change == pytest.approx(0.1) and not wide.table["clear"].any()
    # Means of three draws with replacement from (-.3, 0, .3), twice: the variance of their difference is 2 * .06 / 3.
    drawn = nested_differences(apart[0].scores, apart[1].scores, 4000, 1)[:, 0]
    assert drawn.std() == pytest.approx(np.sqrt(2 * 0.06 / 3), rel=0.05)


def test_one_training_is_the_paired_bootstrap_over_images():
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(2, 1, 40, 2))
    drawn = nested_differences(first, second, 20_000, 0)
    difference = (second - first)[0]
    oracle = stats.bootstrap((difference,), np.mean, axis=0, n_resamples=20_000, method="percentile",
                             rng=np.random.default_rng(5)).confidence_interval  # fmt: skip
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    assert low == pytest.approx(oracle.low, abs=0.02) and high == pytest.approx(oracle.high, abs=0.02)


def test_draws_do_not_depend_on_the_other_methods():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 3, 10, 4))
    whole = nested_differences(first, second, 50, 7)
    assert nested_differences(first[..., 2:], second[..., 2:], 50, 7) == pytest.approx(whole[:, 2:])


def test_the_best_method_of_each_training_is_a_ranked_one():
    found = arm("x", [[[0.1, 0.2, 0.9]], [[0.4, 0.3, 0.9]]])
    assert found.best() == [("b", pytest.approx(0.2)), ("a", pytest.approx(0.4))]
    assert found.best(higher=False) == [("a", pytest.approx(0.1)), ("b", pytest.approx(0.3))]


def test_spread_between_trainings_by_hand():
    arms = [arm(f"training {i}", [[[value, 0.0, 0.0]] * 2]) for i, value in enumerate((0.1, 0.2, 0.6))]
    row = spread(arms).set_index("method").loc["a"]
    assert row["mean"] == pytest.approx(0.3) and row["deviation"] == pytest.approx(np.std([0.1, 0.2, 0.6], ddof=1))
    assert (row["lowest"], row["highest"], row["trainings"]) == (0.1, 0.6, 3)
