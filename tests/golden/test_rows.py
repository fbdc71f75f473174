"""Rows of small runs on fixed weights and drawn images: identity exactly, scores at 1e-5.

Everything but the score is pinned exactly: images and their digests, targets, units, metrics, statuses, predictions,
labels. Floating point differs between processors and versions of torch, so scores are compared at 1e-5 relative; runs
are in float64, where ranks of near ties, on which many scores rest, do not turn over with the rounding.
`python tests/golden/record.py rows` writes rows.csv again.
"""

from __future__ import annotations

import cases
import pytest

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier

PINNED = cases.read_rows()


@pytest.mark.parametrize("case", cases.ROWS)
def test_rows_are_the_pinned_ones(case, golden_home, tmp_path):
    found, wanted = cases.rows_of(case, golden_home, tmp_path / "results"), PINNED[case]
    identity = [[row[name] for name in cases.IDENTITY] for row in found]
    assert identity == [[row[name] for name in cases.IDENTITY] for row in wanted]
    for row, pinned in zip(found, wanted, strict=True):
        words = " ".join(row[name] for name in ("protocol", "metric", "method", "image_id", "target"))
        assert (row["score"] == "") == (pinned["score"] == ""), words
        if row["score"]:
            allowed = 0.01 if row["metric"] == "tied" else 1e-9  # the share of pixels that tie to the last bit
            assert float(row["score"]) == pytest.approx(float(pinned["score"]), rel=1e-5, abs=allowed), words


def test_every_case_is_pinned_and_tells_something():
    assert list(PINNED) == list(cases.ROWS)
    rows = [row for case in PINNED.values() for row in case]
    for column in ("prediction", "correct", "status", "unit"):
        assert len({row[column] for row in rows}) > 1, column
