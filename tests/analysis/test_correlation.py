"""Pearson's r of two scores of a board, against SciPy and a bootstrap written out."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr

from xaibench.analysis.bootstrap import resampled_counts
from xaibench.analysis.correlation import COLUMNS, pearson
from xaibench.analysis.leaderboard import leaderboard
from xaibench.errors import XaibenchError


def frame(kit, cell, images, x, y, **columns) -> pd.DataFrame:
    """Rows of both metrics for images, several of which may be the same one; words are statuses."""
    parts = []
    for metric, scores in (("idsds", x), ("size", y)):
        made = pd.DataFrame(kit.rows(cell, dict(enumerate(scores)), metric=metric))
        made["image_id"], made["target"] = images, pd.array(range(len(images)), dtype="Int32")
        parts.append(made.assign(**columns))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def scores():
    """Forty rows of twenty images, related."""
    draws = np.random.default_rng(3)
    size = draws.integers(1, 5000, 40).astype(float)
    return [f"{i // 2:02d}" for i in range(40)], size / 9000 + draws.normal(size=40) * 0.2, size


def test_r_is_pearsons_over_rows(kit, scores):
    images, x, y = scores
    cell = kit.cell("ig")
    found = leaderboard(frame(kit, cell, images, x.tolist(), y.tolist()), [cell]).correlation("size")
    (row,) = found.table.to_dict("records")
    assert tuple(found.table.columns) == COLUMNS
    assert row["r"] == pytest.approx(pearsonr(x, y).statistic, abs=1e-12)
    assert (row["n_rows"], row["n_images"], row["n_undefined"]) == (40, 20, 0)
    assert pearson(x, y) == pytest.approx(row["r"], abs=1e-12)
    assert pearson(np.append(x, [np.nan, 1]), np.append(y, [1, np.nan])) == pytest.approx(row["r"], abs=1e-12)


def z_and_deviation(x, y, counts):
    """Fisher's z of rows whose images are drawn so often, and by differences the deviation of what each image adds."""

    def z(weights):
        n, a, b = weights.sum(), weights @ x / weights.sum(), weights @ y / weights.sum()
        spread = [weights @ (u * v) / n for u, v in ((x - a, y - b), (x - a, x - a), (y - b, y - b))]
        return np.arctanh(spread[0] / np.sqrt(spread[1] * spread[2]))

    images, step = len(counts), 1e-5
    per_row = np.repeat(counts.astype(float), 2)
    one = [np.repeat(np.eye(images)[image], 2) * step for image in range(images)]
    slopes = np.array([(z(per_row + d) - z(per_row - d)) / (2 * step) for d in one]) * counts.sum()
    return z(per_row), np.sqrt(counts @ slopes**2 / counts.sum())


def test_the_interval_is_the_studentised_one_of_fishers_z(kit, scores):
    """Each resample written out: its images with all their rows; slopes by finite differences."""
    images, x, y = scores
    cell = kit.cell("ig")
    board = leaderboard(frame(kit, cell, images, x.tolist(), y.tolist()), [cell])
    (row,) = board.correlation("size", resamples=200, seed=5).table.to_dict("records")
    z, deviation = z_and_deviation(x, y, np.ones(20))
    assert z == pytest.approx(np.arctanh(pearsonr(x, y).statistic))
    drawn = [z_and_deviation(x, y, counts) for counts in np.concatenate(list(resampled_counts(20, 200, 5)))]
    t = np.sort([(each - z) / spread for each, spread in drawn])
    expected = np.tanh(z - t[-1 - 4] * deviation), np.tanh(z - t[4] * deviation)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(expected, abs=1e-6)
    low, high = board.correlation("size").table[["ci_low", "ci_high"]].iloc[0]
    assert low < row["r"] < high


def test_images_without_rows_are_drawn_too_so_that_all_methods_see_the_same_resamples(kit, scores):
    """Fifteen images have a row, the list has twenty: a resample has some of the fifteen, and as often as the list."""
    images, x, y = scores
    cell, few = kit.cell("ig"), 30
    rows = frame(kit, cell, images[:few], x[:few].tolist(), y[:few].tolist())
    board = leaderboard(rows, [cell], sorted(set(images)))
    (row,) = board.correlation("size", resamples=200, seed=5).table.to_dict("records")
    present = np.repeat([1.0, 0.0], [15, 5])
    z, deviation = z_and_deviation(x, y, present)
    counts = np.concatenate(list(resampled_counts(20, 200, 5))) * present
    drawn = [z_and_deviation(x, y, one) for one in counts]
    # the deviation is between all twenty images, of which those without a row add nothing
    scale = [np.sqrt(20 / one.sum()) for one in [present, *counts]]
    t = np.sort([(each - z) / (spread * s) for (each, spread), s in zip(drawn, scale[1:], strict=True)])
    ends = np.tanh(z - t[-1 - 4] * deviation * scale[0]), np.tanh(z - t[4] * deviation * scale[0])
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(ends, abs=1e-6)


def test_undefined_rows_are_left_out_and_counted(kit, scores):
    images, x, y = scores
    a, b = x.tolist(), y.tolist()
    a[3], b[7], a[9], b[9] = "undefined-map", "undefined-map", "undefined-reference", "undefined-reference"
    cell = kit.cell("ig")
    found = leaderboard(frame(kit, cell, images, a, b), [cell]).correlation("size")
    (row,) = found.table.to_dict("records")
    kept = np.delete(np.arange(40), [3, 7, 9])
    assert row["r"] == pytest.approx(pearsonr(x[kept], y[kept]).statistic, abs=1e-12)
    assert (row["n_rows"], row["n_undefined"]) == (37, 3)
    assert "3 rows left out: one of the two scores is undefined" in found.caption


def test_instances_are_paired_in_their_order(kit):
    cell = kit.cell("ig")
    rows = frame(kit, cell, ["a", "a", "a", "b"], [0.1, 0.5, 0.2, 0.4], [1.0, 5.0, 2.0, 4.0], unit="instance")
    rows["target"] = pd.array([1] * 8, dtype="Int32")
    assert leaderboard(rows, [cell]).correlation("size").table["r"].tolist() == pytest.approx([1])


def test_where_there_is_no_r(kit):
    cells = [kit.cell("flat"), kit.cell("few"), kit.cell("fine")]
    images = ["a", "b", "c"]
    rows = [
        frame(kit, cells[0], images, [0.1, 0.1, 0.1], [1.0, 2.0, 3.0]),
        frame(kit, cells[1], images, ["undefined-map", "undefined-map", 0.3], [1.0, 2.0, 3.0]),
        frame(kit, cells[2], images, [0.2, 0.1, 0.3], [1.0, 2.0, 3.0]),
    ]
    found = leaderboard(pd.concat(rows), cells).correlation("size")
    table = found.table.set_index("method")
    assert table.loc[["flat", "few"], ["r", "ci_low", "ci_high"]].isna().all(axis=None)
    assert table.loc["fine", "r"] == pytest.approx(0.5)
    # one of nine resamples of three images takes one image three times
    note = next(note for note in found.notes if note.startswith("resamples without an r, out of 2000: "))
    assert int(note.rsplit(" ", 1)[1]) == pytest.approx(2000 / 9, abs=50) and "fine" in note and "flat" not in note


def test_every_format_and_the_command(kit, scores, store, command):
    images, x, y = scores
    cell = kit.cell("ig", context=kit.context(further={"size": {"higher_is_better": None}}))
    kit.record(store, [cell], [{}], sorted(set(images)))
    for metric, values in (("idsds", x), ("size", y)):
        store.append(kit.table(cell, dict(enumerate(values.tolist())), metric=metric,
                               image_id=images, image_digest=images, target=list(range(40))))  # fmt: skip
    words = ("leaderboard", "idsds", "--out", store.root, "--correlate", "size")
    expected = pearsonr(x, y).statistic
    status, out, _ = command(*words)
    assert status == 0 and f"{expected:.4f}" in out and "idsds with size over 40 rows" in " ".join(out.split())
    value = json.loads(command(*words, "--format", "json")[1])
    assert value["rows"][0]["r"] == pytest.approx(expected) and value["with"] == "size"
    rows = list(csv.DictReader(io.StringIO(command(*words, "--format", "csv")[1])))
    assert float(rows[0]["r"]) == pytest.approx(expected)
    assert f"| {expected:.4f} |" in command(*words, "--format", "md")[1]
    status, _, err = command(*words[:-1], "nope")
    assert status == 2 and "no metric 'nope' is stored for idsds; there are idsds, size" in err
    with pytest.raises(XaibenchError, match="idsds is the board's own metric"):
        leaderboard(frame(kit, cell, images, x.tolist(), y.tolist()), [cell]).correlation("idsds")


def test_constants_have_no_r():
    assert np.isnan(pearson(np.full(5, 0.1), np.arange(5)))
    assert np.isnan(pearson(np.ones(1), np.ones(1)))
    assert np.isnan(pearson(np.ones(0), np.ones(0)))


def test_resamples_without_an_r_count_at_both_ends(kit):
    """A quarter of the resamples of two images has the first one alone, whose scores are all the same."""
    cell = kit.cell("ig")
    rows = frame(kit, cell, ["a"] * 2 + ["b"] * 4, [0.5, 0.5, 0.1, 0.3, 0.9, 0.4], [1.0, 2.0, 1.0, 4.0, 3.0, 2.0])
    (row,) = leaderboard(rows, [cell]).correlation("size").table.to_dict("records")
    assert (row["ci_low"], row["ci_high"]) == (-1, 1)
