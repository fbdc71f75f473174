"""The Pareto front against brute force, and the model that stands for it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from xaibench.training.guidance.pareto import front, non_dominated, representative


def brute_force(values):
    """By the definition, one pair at a time, in plain Python."""

    def superior(a, b):
        return all(x >= y for x, y in zip(a, b, strict=True)) and any(x > y for x, y in zip(a, b, strict=True))

    return [not any(superior(other, row) for other in values) for row in values]


@pytest.mark.parametrize(("count", "metrics"), [(1, 1), (30, 2), (40, 3), (25, 4)])
@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_that_of_brute_force(count, metrics, seed):
    values = np.random.default_rng(seed).integers(0, 6, (count, metrics)).astype(float)  # with many equals
    assert non_dominated(values).tolist() == brute_force(values.tolist())


def test_by_hand():
    values = [(0.9, 0.2), (0.8, 0.5), (0.8, 0.4), (0.7, 0.5), (0.6, 0.9), (0.9, 0.2)]
    assert non_dominated(values).tolist() == [True, True, False, False, True, True]


def test_order_changes_nothing():
    values = np.random.default_rng(3).random((6, 3))
    whole = non_dominated(values)
    for order in itertools.islice(itertools.permutations(range(6)), 0, 720, 37):
        assert (non_dominated(values[list(order)]) == whole[list(order)]).all()


def test_a_front_kept_step_by_step_is_the_front_of_all():
    rows = [dict(zip("abc", row, strict=True)) for row in np.random.default_rng(1).integers(0, 8, (60, 3)).tolist()]
    kept = []
    for row in rows:
        kept = [[*kept, row][number] for number in front([*kept, row], "abc")]
    assert kept == [rows[number] for number in front(rows, "abc")]


def test_a_row_with_nan_is_off_the_front_and_superior_to_none():
    assert non_dominated([(float("nan"), 9.0), (1.0, 1.0), (9.0, float("nan"))]).tolist() == [False, True, False]
    assert non_dominated(np.empty((0, 3))).tolist() == []


def row(f1, epg, iou=0.0):
    return {"f1": f1, "epg": epg, "iou": iou}


def test_the_representative_has_the_highest_epg_within_five_points():
    rows = [row(0.80, 0.3), row(0.76, 0.6), row(0.75, 0.7), row(0.7499, 0.9)]
    assert representative(rows, "f1", 0.80) == 2
    assert representative(rows, "f1", 0.80, lost=0.0) == 0
    assert representative(rows, "f1", 0.99) is None and representative([], "f1", 0.5) is None


def test_of_equal_epg_the_higher_score_then_iou_then_the_first():
    assert representative([row(0.8, 0.5), row(0.9, 0.5), row(0.9, 0.5)], "f1", 0.8) == 1
    assert representative([row(0.8, 0.5, 0.1), row(0.8, 0.5, 0.2)], "f1", 0.8) == 1


@pytest.mark.parametrize("seed", range(10))
def test_the_representative_is_on_the_front(seed):
    rows = [row(*values) for values in (np.random.default_rng(seed).integers(0, 4, (20, 3)) / 4).tolist()]
    assert representative(rows, "f1", 0.5) in front(rows, ("f1", "epg", "iou"))
