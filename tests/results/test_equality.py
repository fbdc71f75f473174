"""When two computations of a row gave the same score."""

from __future__ import annotations

import numpy as np
import pytest

from xaibench.results.equality import scores_equal

NAN = float("nan")


@pytest.mark.parametrize(
    ("first", "second", "settings", "equal"),
    [
        (0.5, 0.5, {}, True),
        (1.0, 1.00009, {}, True),
        (1.0, 1.00011, {}, False),
        (-1.0, -1.00009, {}, True),
        (0.001, 0.00105, {}, False),
        (0.001, 0.00105, {"scale": 1.0}, True),
        (1e-9, 2e-9, {"scale": 1e-6}, False),  # a metric of small numbers is not equal throughout
        (700.0, 700.05, {"scale": 900.0}, True),
        (0.2, 0.209, {"metric": "tied"}, True),
        (0.2, 0.211, {"metric": "tied", "scale": 1.0}, False),
        (NAN, NAN, {}, True),
        (NAN, 0.0, {}, False),
        (0.0, NAN, {"metric": "tied"}, False),
        (float("inf"), float("inf"), {}, True),
        (float("inf"), -float("inf"), {}, False),
    ],
)
def test_by_kind(first, second, settings, equal):
    assert bool(scores_equal(first, second, **settings)) is equal
    assert bool(scores_equal(second, first, **settings)) is equal


def test_row_by_row():
    found = scores_equal([0.1, 0.1, NAN], [0.105, 0.105, NAN], metric=["tied", "road", "road"], scale=[NAN, 1.0, NAN])
    np.testing.assert_array_equal(found, [True, False, True])
