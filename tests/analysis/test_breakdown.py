"""A board in groups: by hand, against the plain board, and as a user types it."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from xaibench.analysis.breakdown import COLUMNS
from xaibench.analysis.groups import class_names
from xaibench.analysis.leaderboard import leaderboard, open_leaderboard
from xaibench.analysis.scored_board import RecordedRun
from xaibench.errors import XaibenchError
from xaibench.results.schema import VERSION_KEY

NAMES = ("bird", "cat", "crane", "crane")


def frame(kit, cell, rows, **columns) -> pd.DataFrame:
    """Rows of a cell from (image, target, label, correct, score)."""
    images, targets, labels, correct, scores = (list(column) for column in zip(*rows, strict=True))
    made = kit.rows(cell, dict.fromkeys(map(str, range(len(rows))), 0.0)) | {
        "image_id": images, "image_digest": images, "target": pd.array(targets, dtype="Int32"),
        "label": pd.array(labels, dtype="Int32"), "correct": pd.array(correct, dtype="boolean"), "score": scores,
        "unit": "class",
    } | columns  # fmt: skip
    table = pd.DataFrame(made)
    words = table["score"].map(lambda value: isinstance(value, str))
    table["status"] = table["score"].where(words, "ok")
    table["score"] = pd.to_numeric(table["score"].mask(words, None))
    return table


def explaining(kit, target, **protocol):
    return kit.context(settings={"target": target}, **protocol)


def cells_of(found) -> dict[tuple[str, str], dict]:
    return {(row["group"], row["method"]): row for row in found.table.to_dict("records")}


@pytest.fixture
def predictions(kit):
    """Three images with predicted classes: one right and one wrong, one wrong, one right; d has no prediction."""
    context = explaining(kit, "predictions")
    good, poor = kit.cell("good", context=context), kit.cell("poor", "control", context=context)
    known = [("a", 0, 0, True), ("a", 1, 0, False), ("b", 2, 1, False), ("c", 1, 1, True), ("d", None, 3, None)]
    scores = ((0.9, 0.1, 0.3, 0.5, "undefined-reference"), (0.2, "undefined-map", 0.0, 0.4, "undefined-reference"))
    rows = [
        frame(kit, cell, [(*k, s) for k, s in zip(known, own, strict=True)])
        for cell, own in zip((good, poor), scores, strict=True)
    ]
    return leaderboard(pd.concat(rows), [good, poor], ["a", "b", "c", "d"], run=RecordedRun(classes=NAMES))


def test_each_prediction_counts_once_by_hand(predictions):
    found = predictions.breakdown("correctness")
    assert tuple(found.table.columns) == COLUMNS
    assert found.groups["group"].tolist() == ["all", "correct", "incorrect"]
    rows = cells_of(found)
    assert rows["correct", "good"]["mean"] == pytest.approx((0.9 + 0.5) / 2)
    assert rows["incorrect", "good"]["mean"] == pytest.approx((0.1 + 0.3) / 2)
    assert rows["all", "good"]["mean"] == pytest.approx((0.9 + 0.1 + 0.3 + 0.5) / 4)
    assert predictions.table.set_index("method")["mean"]["good"] == pytest.approx((0.5 + 0.3 + 0.5) / 3)
    assert rows["incorrect", "poor"]["mean"] == 0  # the undefined map costs 0
    assert [rows[group, "poor"]["n_undefined"] for group in ("all", "correct", "incorrect")] == [1, 0, 1]
    assert [rows[group, "good"]["n_images"] for group in ("all", "correct", "incorrect")] == [3, 2, 2]
    assert found.groups["n_pairs"].tolist() == [4, 2, 2]
    assert found.groups["n_reference"].tolist() == [1, 0, 0]
    assert found.groups["accuracy"].tolist() == [0.5, 1, 0]
    notes = "\n".join(found.notes)
    assert "images by correctness: correct 2, incorrect 2, of 3" in notes
    assert "1 image in several groups" in notes
    assert "1 image in no group: nothing is explained in them" in notes
    assert "4 explained classes of 3 images" in found.caption and "count at 0" in found.caption


def test_predictions_belong_to_the_image_s_own_class_and_labels_to_the_explained_one(kit, predictions):
    found = predictions.breakdown("class")
    assert found.groups["group"].tolist() == ["all", "bird", "cat", "crane (3)"]
    assert found.groups["n_pairs"].tolist() == [4, 2, 2, 0]
    assert np.isnan(cells_of(found)["crane (3)", "good"]["mean"])
    cell = kit.cell("x", context=explaining(kit, "labels"))
    rows = [("a", 0, 0, True, 0.2), ("a", 1, 0, True, 0.6), ("b", 1, 1, False, 1.0)]
    found = leaderboard(frame(kit, cell, rows), [cell], run=RecordedRun(classes=NAMES)).breakdown("class")
    assert cells_of(found)["cat", "x"]["mean"] == pytest.approx(0.8)
    assert cells_of(found)["bird", "x"]["n_images"] == 1
    assert found.groups.set_index("group")["accuracy"].to_dict() == pytest.approx({"all": 2 / 3, "bird": 1, "cat": 0.5})


def test_a_protocol_that_says_no_target_goes_by_its_unit(kit):
    """A plug-in without settings: the image's own class where it scores images, the explained one where classes."""
    cell, rows = kit.cell("x"), [("a", 0, 2, True, 0.2), ("b", 1, 2, True, 0.6)]
    image = leaderboard(frame(kit, cell, rows, unit="image"), [cell], run=RecordedRun(classes=NAMES)).breakdown("class")
    assert image.groups["group"].tolist() == ["all", "crane (2)"]
    each = leaderboard(frame(kit, cell, rows), [cell], run=RecordedRun(classes=NAMES)).breakdown("class")
    assert each.groups["group"].tolist() == ["all", "bird", "cat"]


def test_all_is_the_board_where_an_image_has_one_row(kit, random_scores):
    """Means and intervals of `all` are the board's; a group's are those of a board of its images alone."""
    cells, ids = [kit.cell(name, context=explaining(kit, "label")) for name in "vwxyz"], kit.ids(60)
    right = [number % 3 > 0 for number in range(60)]
    rows = pd.concat([
        frame(kit, cell, [(i, 1, 1, r, s) for i, r, s in zip(ids, right, own, strict=True)], unit="image")
        for cell, own in zip(cells, random_scores.T.tolist(), strict=True)
    ])  # fmt: skip
    board = leaderboard(rows, cells, ids)
    found = board.breakdown("correctness")
    columns = ["method", "mean", "ci_low", "ci_high", "n_images"]
    whole = found.table[found.table["group"] == "all"][columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(whole, board.table[columns], check_dtype=False)
    part = [i for i, r in zip(ids, right, strict=True) if not r]
    alone = leaderboard(rows[rows["image_id"].isin(part)], cells, part).table.set_index("method")
    for row in found.table[found.table["group"] == "incorrect"].to_dict("records"):
        for name in ("mean", "ci_low", "ci_high"):
            assert row[name] == pytest.approx(alone[name][row["method"]], abs=1e-12)


def test_intervals_resample_images_with_all_their_rows(kit):
    """Two rows of an image that agree are no more certain than one of them."""
    cell, draws = kit.cell("x", context=explaining(kit, "predictions")), np.random.default_rng(0)
    scores = dict(zip(kit.ids(30), draws.normal(size=30).tolist(), strict=True))
    once = leaderboard(frame(kit, cell, [(i, 0, 0, True, s) for i, s in scores.items()]), [cell])
    both = [(i, target, 0, True, s) for i, s in scores.items() for target in (0, 1)]
    twice = leaderboard(frame(kit, cell, both), [cell])
    first, second = (cells_of(board.breakdown("correctness"))["correct", "x"] for board in (once, twice))
    assert first["ci_high"] - first["ci_low"] > 0.1
    assert second == pytest.approx(first)


def test_an_incomplete_method_has_its_own_images_and_takes_none_away(kit):
    context = explaining(kit, "label")
    whole, half = kit.cell("whole", context=context), kit.cell("half", context=context)
    both, one = [("a", 1, 1, True, 0.2), ("b", 1, 1, True, 0.4)], [("a", 1, 1, True, 1)]
    rows = pd.concat([frame(kit, whole, both), frame(kit, half, one)])
    found = cells_of(leaderboard(rows, [whole, half], ["a", "b"]).breakdown("correctness"))
    assert (found["correct", "whole"]["mean"], found["correct", "whole"]["n_images"]) == (pytest.approx(0.3), 2)
    assert (found["correct", "half"]["mean"], found["correct", "half"]["n_images"]) == (1, 1)


def test_one_method_that_recorded_it_is_enough(kit):
    """The same image is right for all methods of a board, also for those whose rows were stored before."""
    old, new = (kit.cell(name, context=explaining(kit, "label")) for name in ("old", "new"))
    rows = [frame(kit, old, [("a", 1, None, None, 0.2)]), frame(kit, new, [("a", 1, 1, False, 0.4)])]
    found = leaderboard(pd.concat(rows), [old, new]).breakdown("correctness")
    assert cells_of(found)["incorrect", "old"]["mean"] == pytest.approx(0.2)
    assert not any("no group" in note for note in found.notes)


def test_classes_are_chosen_and_sorted(kit):
    cell = kit.cell("x", context=explaining(kit, "label"))
    rows = [(str(i), label, label, True, 0.5) for i, label in enumerate([1, 1, 1, 0, 0, 2])]
    board = leaderboard(frame(kit, cell, rows), [cell], run=RecordedRun(classes=("ibis", "ape", "blackbird")))
    assert board.breakdown("class").groups["group"].tolist() == ["all", "ape", "blackbird", "ibis"]
    assert board.breakdown("class", order="count").groups["group"].tolist() == ["all", "ape", "ibis", "blackbird"]
    found = board.breakdown("class", "*b*")
    assert found.groups["group"].tolist() == ["all", "blackbird", "ibis"]
    assert "2 of 3 classes shown, with 1 to 2 images each, of 6 images" in found.notes
    with pytest.raises(XaibenchError, match="no class of this board matches 'blakbird'; did you mean blackbird"):
        board.breakdown("class", "blakbird")
    with pytest.raises(XaibenchError, match="by is correctness or class, not 'label'"):
        board.breakdown("label")


def test_names_of_classes():
    assert class_names(NAMES) == {0: "bird", 1: "cat", 2: "crane (2)", 3: "crane (3)"}
    assert class_names(["all", "one"]) == {0: "all (0)", 1: "one"}


def test_a_model_of_other_classes_is_neither_right_nor_wrong(kit):
    cell = kit.cell("x", context=explaining(kit, "prediction"))
    board = leaderboard(frame(kit, cell, [("a", 700, 1, None, 0.5)]), [cell], run=RecordedRun(classes=NAMES))
    with pytest.raises(XaibenchError, match="by correctness: 1 image in no group: the model's classes are not those"):
        board.breakdown("correctness")
    assert board.breakdown("class").groups["group"].tolist() == ["all", "cat"]


@pytest.fixture
def older(kit, store):
    """A store whose only shard was written by row schema 1, and its run by a xaibench that kept no class names."""
    cell = kit.cell("ig", context=explaining(kit, "prediction"))
    kit.record(store, [cell], [{"a": 0.1, "b": 0.3}], ["a", "b"])
    (path,) = store.shards()
    old = pq.read_table(path).drop_columns(["label", "correct"]).replace_schema_metadata({VERSION_KEY: b"1"})
    pq.write_table(old, path)
    return store


def test_rows_stored_before_are_reported_with_the_command_that_helps(older, command, kit):
    status, out, err = command("leaderboard", "idsds", "--out", older.root, "--by", "correctness")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "2 images in no group: rows were stored before labels and correctness were recorded" in err
    assert "`xaibench run idsds --model resnet50` with another --out computes them again" in err
    assert command("leaderboard", "idsds", "--out", older.root)[0] == 0
    cell = kit.cell("ig", context=explaining(kit, "prediction"))
    older.append(kit.table(cell, {"c": 0.9}, label=1, correct=True))
    kit.record(older, [cell], [{}], ["a", "b", "c"], classes=["ape", "bee"])
    found = open_leaderboard(older, "idsds").breakdown("class")
    assert found.groups["group"].tolist() == ["all", "bee"]
    assert any(note.startswith("2 images in no group: rows were stored before") for note in found.notes)
    assert cells_of(found)["all", "ig"]["mean"] == pytest.approx((0.1 + 0.3 + 0.9) / 3)


def test_every_format_says_the_same(predictions):
    found = predictions.breakdown("correctness")
    value = json.loads(found.to_json(), parse_constant=lambda word: pytest.fail(word))
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [float(row["mean"]) for row in rows] == [row["mean"] for row in value["rows"]]
    assert value["by"] == "correctness" and value["groups"][1]["group"] == "correct" and value["context"]
    markdown = [line for line in found.to_markdown().splitlines() if line.startswith("|")]
    assert len(markdown) == 2 + 3 + 2 + 6
    text = found.to_text(80)
    assert [line.split()[0] for line in text.splitlines() if line[:1].isalpha() and "good" in line.split()[:2]] == [
        "all", "correct", "incorrect"
    ]  # fmt: skip
    assert max(map(len, text.splitlines())) <= 80
    assert "poor" in text and "\x1b[" in found.to_text(80, colour=True)


def test_options_that_do_not_go_together(command, tmp_path):
    for words, message in (
        (("--by", "class", "--correlate", "x"), "--by and --correlate make different tables"),
        (("--by", "correctness", "--class", "a*"), "--class and --sort choose among classes; they need --by class"),
        (("--sort", "count"), "they need --by class"),
        (("--correlate", "x", "--figure", "x.png"), "--correlate has no figure"),
    ):
        status, _, err = command("leaderboard", "idsds", "--out", tmp_path, *words)
        assert status == 2 and message in err and len(err.splitlines()) == 1
