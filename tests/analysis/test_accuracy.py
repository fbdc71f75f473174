"""What a design choice changes in accuracy, against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from xaibench.analysis.accuracy import ALL, compare_accuracies, worst_groups
from xaibench.analysis.arm import Arm
from xaibench.analysis.comparison import compare

IMAGES, GROUPS = ("a", "b", "c", "d"), ("own", "other", "other", "")


def arm(name, correct, images=IMAGES, groups=GROUPS):
    correct = np.array(correct, dtype=bool)
    scores = np.zeros((len(correct), len(images), 1))
    return Arm(name, scores, ("ixg",), ("method",), images, correct=correct, groups=groups)


def test_accuracies_by_group_by_hand():
    before = arm("x", [[1, 0, 0, 1], [1, 1, 0, 0]])
    after = arm("y", [[1, 1, 1, 0]] * 2, images=("d", "c", "b", "a"), groups=("", "other", "other", "own"))
    table = compare(before, after).accuracy_changes.set_index("images")
    assert table.index.tolist() == [ALL, "other", "own"] and table["count"].tolist() == [4, 2, 1]
    assert table["before"].tolist() == pytest.approx([0.5, 0.25, 1.0])
    assert table["after"].tolist() == pytest.approx([0.75, 1.0, 0.0])
    assert table["change"].tolist() == pytest.approx([0.25, 0.75, -1.0])
    assert table["better"].tolist() == [True, True, False]
    assert table.loc["own", ["ci_low", "ci_high"]].isna().all() and not table.loc["own", "clear"], "one image"
    # Trainings of 0 and .5 against 1 and 1: variance .125 / 2; changes .5 and 1 of two images: .125 / 2; df = 2.
    half = t.ppf(0.975, 2) * np.sqrt(0.125)
    assert table.loc["other", "ci_low"] == pytest.approx(0.75 - half) and table.loc["other", "ci_high"] == 1
    assert not table.loc["other", "clear"]


def test_one_training_each_has_the_exact_interval_where_all_images_change():
    """Eight images of eight are right only after: at least .025^(1/8) of all change, the rest may change back."""
    images = tuple("abcdefgh")
    before, after = (arm(name, [[value] * 8], images, ("",) * 8) for name, value in (("x", 0), ("y", 1)))
    (row,) = compare_accuracies(before, after, resamples=20_000).to_dict("records")
    assert row["ci_low"] == pytest.approx(2 * 0.025 ** (1 / 8) - 1, abs=0.02) and row["clear"]
    assert row["ci_high"] == pytest.approx(1)


def test_only_images_of_both_count():
    before = arm("x", [[1, 1, 0]], images=("a", "b", "z"), groups=("own", "own", "own"))
    after = arm("y", [[0, 1, 0]], images=("b", "a", "d"), groups=("own", "own", "own"))
    table = compare_accuracies(before, after)
    assert table["count"].tolist() == [2, 2] and table["change"].tolist() == pytest.approx([-0.5, -0.5])


def test_without_known_correctness_there_is_no_table_and_without_groups_one_row():
    known, unknown = arm("x", [[1, 0, 0, 1]], groups=()), Arm("y", np.zeros((1, 4, 1)), ("ixg",), ("method",), IMAGES)
    assert compare(known, unknown).accuracy_changes is None
    assert compare(known, known).accuracy_changes["images"].tolist() == [ALL]


def test_the_worst_group_of_each_training():
    assert worst_groups(arm("x", [[1, 0, 1, 0], [0, 1, 1, 1]])) == [0.5, 0.0]
    assert np.isnan(worst_groups(arm("x", [[1, 0, 1, 0]], groups=()))).all()
