from __future__ import annotations

import csv
import io
import json
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import pytest

from xaibench.analysis.intervals import mean_intervals
from xaibench.analysis.leaderboard import COLUMNS, leaderboard, open_leaderboard
from xaibench.errors import XaibenchError
from xaibench.locks import living


def frame(kit, cells, scores, **columns) -> pd.DataFrame:
    parts = [pd.DataFrame(kit.rows(cell, values, **columns)) for cell, values in zip(cells, scores, strict=True)]
    return pd.concat(parts, ignore_index=True)


def table(board) -> dict[str, dict]:
    return {row["method"]: row for row in json.loads(board.to_json())["rows"]}


def test_means_ranks_and_order_by_hand(kit):
    cells = [kit.cell("low"), kit.cell("high"), kit.cell("control", "control"), kit.cell("variant", "variant"),
             kit.cell("oracle", "oracle")]  # fmt: skip
    scores = [{"a": 0.1, "b": 0.2}, {"a": 0.8, "b": 0.6}, {"a": 0.5, "b": 0.5}, {"a": 0.3, "b": 0.3}, {"a": 1, "b": 1}]
    board = leaderboard(frame(kit, cells, scores), cells, ["a", "b"])
    assert tuple(board.table.columns) == COLUMNS
    assert board.table["method"].tolist() == ["oracle", "high", "control", "variant", "low"]
    assert board.table["mean"].tolist() == pytest.approx([1, 0.7, 0.5, 0.3, 0.15])
    assert [None if pd.isna(rank) else rank for rank in board.table["rank"]] == [None, 1, None, 2, 3]
    assert board.table["n_images"].tolist() == [2] * 5
    assert board.table["coverage"].tolist() == [1.0] * 5


def test_lower_is_better_turns_order_and_ranks(kit):
    context = kit.context(higher_is_better=False)
    cells = [kit.cell("low", context=context), kit.cell("high", context=context)]
    board = leaderboard(frame(kit, cells, [{"a": 0.1, "b": 0.2}, {"a": 0.8, "b": 0.6}]), cells, ["a", "b"])
    assert board.table["method"].tolist() == ["low", "high"]
    assert board.table["rank"].tolist() == [1, 2]
    assert "lower is better" in board.caption


def test_equal_means_share_a_rank(kit):
    cells = [kit.cell("x"), kit.cell("y"), kit.cell("z")]
    scores = [{"a": 0.1, "b": 0.2, "c": 0.3}, {"a": 0.3, "b": 0.2, "c": 0.1}, {"a": 0.0, "b": 0.0, "c": 0.0}]
    board = leaderboard(frame(kit, cells, scores), cells)
    assert board.table["rank"].tolist() == [1, 1, 3]
    assert any("not told apart" in note and "y" in note.split(": ")[1] for note in board.notes)


def test_an_undefined_map_costs_what_the_protocol_says(kit):
    cells = [kit.cell("broken"), kit.cell("good")]
    scores = [{"a": "undefined-map", "b": 1.0}, {"a": 0.2, "b": 0.6}]
    for cost, mean in ((0.0, 0.5), (-1.0, 0.0)):
        context = kit.context(undefined_cost=cost)
        cells = [kit.cell("broken", context=context), kit.cell("good", context=context)]
        board = leaderboard(frame(kit, cells, scores), cells, ["a", "b"])
        row = table(board)["broken"]
        assert row["mean"] == pytest.approx(mean)
        assert (row["n_images"], row["n_undefined"], row["coverage"]) == (2, 1, 1)
        assert f"1 undefined map counted at {cost:g}" in board.caption
    context = kit.context(undefined_cost=None)
    cells = [kit.cell("broken", context=context), kit.cell("good", context=context)]
    with pytest.raises(XaibenchError, match="declares no undefined_cost"):
        leaderboard(frame(kit, cells, scores), cells, ["a", "b"])


def test_an_undefined_reference_leaves_for_all_alike(kit):
    """One method notices; the image must not count for the other, nor lower anybody's coverage."""
    cells = [kit.cell("x"), kit.cell("y")]
    scores = [{"a": "undefined-reference", "b": 0.5, "c": 0.1}, {"a": 0.9, "b": 0.4, "c": 0.0}]
    board = leaderboard(frame(kit, cells, scores), cells, ["a", "b", "c"])
    assert table(board)["y"]["mean"] == pytest.approx(0.2)
    assert board.table["n_images"].tolist() == [2, 2]
    assert board.table["n_undefined"].tolist() == [0, 0]
    assert board.table["rank"].tolist() == [1, 2]
    assert (board.n_list, board.n_reference) == (3, 1)
    assert "over 2 images" in board.caption
    assert "1 image left out for all methods" in board.caption


def test_an_undefined_reference_of_one_target_leaves_the_others(kit):
    cell = kit.cell("x")
    rows = pd.DataFrame(kit.rows(cell, {"a": 0.2, "b": 0.4}))
    other = pd.DataFrame(kit.rows(cell, {"a": "undefined-reference", "b": 0.8}, target=2))
    board = leaderboard(pd.concat([rows, other]), [cell], ["a", "b"])
    assert board.table["mean"].tolist() == pytest.approx([(0.2 + (0.4 + 0.8) / 2) / 2])
    assert board.n_reference == 0


def test_an_incomplete_method_has_no_rank_and_shows_its_coverage(kit):
    cells = [kit.cell("whole"), kit.cell("half"), kit.cell("none"), kit.cell("other")]
    scores = [{"a": 0.1, "b": 0.3}, {"a": 0.9}, {}, {"a": 0.0, "b": 0.1}]
    board = leaderboard(frame(kit, cells, scores), cells, ["a", "b"])
    rows = table(board)
    assert (rows["half"]["rank"], rows["half"]["rank_low"], rows["half"]["coverage"]) == (None, None, 0.5)
    assert (rows["none"]["mean"], rows["none"]["coverage"], rows["none"]["n_images"]) == (None, 0, 0)
    assert (rows["whole"]["rank"], rows["other"]["rank"], rows["whole"]["rank_high"]) == (1, 2, 2)
    assert board.table["method"].tolist() == ["half", "whole", "other", "none"]
    assert "50.0%" in board.to_text()


def test_images_beyond_the_list_do_not_count(kit):
    cell = kit.cell("x")
    board = leaderboard(frame(kit, [cell], [{"a": 0.1, "b": 0.3, "z": 9.0}]), [cell], ["a", "b"])
    assert board.table["mean"].tolist() == pytest.approx([0.2])


def test_intervals_are_those_of_the_bootstrap_and_of_the_seed(kit):
    rng = np.random.default_rng(1)
    ids = kit.ids(40)
    values = rng.normal(size=(40, 2)).round(3)
    cells = [kit.cell("x"), kit.cell("y")]
    rows = frame(kit, cells, [dict(zip(ids, column.tolist(), strict=True)) for column in values.T])
    low, high = mean_intervals(values)
    first = leaderboard(rows, cells, ids)
    for name, at in (("x", 0), ("y", 1)):
        assert table(first)[name]["ci_low"] == pytest.approx(low[at])
        assert table(first)[name]["ci_high"] == pytest.approx(high[at])
    again = leaderboard(rows.sample(frac=1, random_state=3), cells[::-1], ids[::-1])
    pd.testing.assert_frame_equal(first.table, again.table)
    other = leaderboard(rows, cells, ids, seed=1)
    assert not first.table["ci_low"].equals(other.table["ci_low"])


def test_controls_that_never_vary_have_no_interval(kit):
    """A constant map is undefined by construction; a method that hits on all images may miss on others."""
    cells = [kit.cell("constant", "control"), kit.cell("oracle", "oracle"), kit.cell("x"), kit.cell("y")]
    ids = kit.ids(16)
    scores = [dict.fromkeys(ids, value) for value in ("undefined-map", 1.0, 1.0, 0.0)]
    board = leaderboard(frame(kit, cells, scores), cells, ids)
    rows = table(board)
    assert rows["constant"]["ci_low"] is None and rows["oracle"]["ci_high"] is None
    assert rows["x"]["ci_low"] == pytest.approx(1 - 2 * (1 - 0.025 ** (1 / 16)), abs=0.03) and rows["x"]["ci_high"] == 1
    assert any("without an interval" in note and "oracle, constant" in note for note in board.notes)


def test_groups_rank_sets_notes_and_the_matrix_agree(kit):
    rng = np.random.default_rng(2)
    ids = kit.ids(24)
    values = np.linspace(-0.4, 0.4, 7) + 0.2 * rng.normal(size=(24, 7))
    cells = [*(kit.cell(f"m{i}") for i in range(7)), kit.cell("chance", "control")]
    scores = [dict(zip(ids, column, strict=True)) for column in [*values.T.tolist(), values[:, 0].tolist()]]
    for higher in (True, False):
        context = kit.context(higher_is_better=higher)
        cells = [
            *(kit.cell(f"m{i}", context=context) for i in range(7)),
            kit.cell("chance", "control", context=context),
        ]
        board = leaderboard(frame(kit, cells, scores), cells, ids)
        ranked = board.table[board.table["rank"].notna()]
        better = board.surely_better
        names = ranked["method"].tolist()
        assert names == [f"m{i}" for i in range(7)][:: -1 if higher else 1]
        assert better.index.tolist() == better.columns.tolist() == names
        assert 0 < better.to_numpy().sum() < 21 and not np.tril(better.to_numpy()).any()
        assert ranked["rank_low"].tolist() == (1 + better.sum(axis=0)).tolist()
        assert ranked["rank_high"].tolist() == (7 - better.sum(axis=1)).tolist()
        groups = dict(zip(names, ranked["group"], strict=True))
        for one, other in combinations(names, 2):
            assert better.loc[one, other] == (not set(groups[one]) & set(groups[other]))
        close = [low for high, low in pairwise(names) if not better.loc[high, low]]
        note = next(note for note in board.notes if "not told apart" in note)
        assert note.split(": ")[1] == ", ".join(close)
        assert board.table.set_index("method").loc["chance", "group"] == ""


def test_boards_are_never_mixed(kit):
    cells = [kit.cell("x"), kit.cell("y", context=kit.context("vgg16"))]
    with pytest.raises(ValueError, match="exactly one board"):
        leaderboard(frame(kit, cells, [{"a": 0.1}, {"a": 0.2}]), cells)
    with pytest.raises(ValueError, match="one cell per method"):
        leaderboard(frame(kit, cells, [{"a": 0.1}, {"a": 0.2}]), [kit.cell("x"), kit.cell("x", source="2")])


def test_metrics(kit):
    cell = kit.cell("x")
    rows = pd.concat([frame(kit, [cell], [{"a": 0.1}]), frame(kit, [cell], [{"a": 0.7}], metric="other")])
    assert leaderboard(rows, [cell], metric="other").table["mean"].tolist() == [0.7]
    assert leaderboard(rows, [cell]).metric == "idsds"
    with pytest.raises(XaibenchError, match=r"no metric 'nope' .* there are idsds, other"):
        leaderboard(rows, [cell], metric="nope")


def test_one_image_and_no_image(kit):
    cell = kit.cell("x")
    row = table(leaderboard(frame(kit, [cell], [{"a": 0.5}]), [cell]))["x"]
    assert -1 < row["ci_low"] < -0.9 and 0.95 < row["ci_high"] < 1, "one image says little of a mean in [-1, 1]"
    assert (row["mean"], row["rank"], row["group"]) == (0.5, 1, "a")
    unknown = kit.cell("x", context=kit.context(range=None))
    board = leaderboard(frame(kit, [unknown], [{"a": 0.5}]), [unknown])
    assert table(board)["x"]["ci_low"] is None and any("without an interval" in note for note in board.notes)
    nobody = leaderboard(frame(kit, [cell], [{"a": "undefined-reference"}]), [cell])
    assert table(nobody)["x"]["mean"] is None
    assert nobody.n_reference == 1
    assert table(leaderboard(frame(kit, [cell], [{}]), [cell], ["a"]))["x"]["coverage"] == 0


def test_the_board_with_the_newest_run_is_taken_and_the_others_named(kit, store):
    resnet, vgg = kit.cell("x"), kit.cell("x", context=kit.context("vgg16"))
    kit.record(store, [vgg], [{"a": 0.9}], ["a"], started="2026-01-01T00:00:00+00:00")
    kit.record(store, [resnet], [{"a": 0.1}], ["a"], started="2026-01-02T00:00:00+00:00",
               accuracy={"correct": 1, "images": 1})  # fmt: skip
    board = open_leaderboard(store, "idsds")
    assert board.table["mean"].tolist() == [0.1]
    assert resnet.board.startswith(board.notes[0].split()[1].rstrip(":"))
    assert any("vgg16" in note and f"--board {vgg.board[:6]}" in note for note in board.notes)
    assert "1 of 1 right (100.0%)" in board.caption
    assert open_leaderboard(store, "idsds", model="vgg*").table["mean"].tolist() == [0.9]
    assert open_leaderboard(store, "idsds", board=vgg.board[:6]).table["mean"].tolist() == [0.9]
    with pytest.raises(XaibenchError, match="no results of 'sds'; it has idsds"):
        open_leaderboard(store, "sds")
    with pytest.raises(XaibenchError, match=f"no board .* fits .*--board {resnet.board[:6]}"):
        open_leaderboard(store, "idsds", model="alexnet")


def test_the_newest_cell_of_a_method_counts(kit, store):
    old, new = kit.cell("mine", source="1"), kit.cell("mine", source="2")
    kit.record(store, [old], [{"a": 0.1}], ["a"], started="2026-01-01T00:00:00+00:00")
    kit.record(store, [new], [{"a": 0.9}], ["a"], started="2026-01-02T00:00:00+00:00")
    board = open_leaderboard(store, "idsds")
    assert board.table["mean"].tolist() == [0.9]
    assert any("older version" in note and old.key in note for note in board.notes)
    kit.record(store, [old], [{}], ["a"], started="2026-01-03T00:00:00+00:00")
    assert open_leaderboard(store, "idsds").table["mean"].tolist() == [0.1]


def test_the_list_is_that_of_the_newest_run_that_did_not_stop(kit, store):
    cell = kit.cell("x")
    kit.record(store, [cell], [{"a": 0.1, "b": 0.3}], ["a", "b"], started="2026-01-01T00:00:00+00:00")
    kit.record(store, [cell], [{"c": 9.0}], ["a", "b", "c", "d"], "interrupted", started="2026-01-02T00:00:00+00:00")
    board = open_leaderboard(store, "idsds")
    assert (board.n_list, board.table["rank"].tolist()) == (2, [1])
    assert any("list of 4 images; the newest has 2" in note for note in board.notes)
    run = kit.record(store, [cell], [{}], ["a", "b", "c", "d"], "running", started="2026-01-03T00:00:00+00:00")
    with living(store.root / "locks", run.lock):
        board = open_leaderboard(store, "idsds")
    assert (board.n_list, board.table["coverage"].tolist()) == (4, [0.75])
    assert board.table["rank"].isna().all()
    assert "over up to 3 of 4 images" in board.caption


def test_a_dead_run_does_not_take_the_board(kit, store):
    """Its record says `running`, as a killed process cannot change it; its lock is free."""
    cell = kit.cell("x")
    kit.record(store, [cell], [{"a": 0.1, "b": 0.3}], ["a", "b"], started="2026-01-01T00:00:00+00:00")
    kit.record(store, [cell], [{"c": 9.0}], ["a", "b", "c", "d"], "running", started="2026-01-02T00:00:00+00:00")
    board = open_leaderboard(store, "idsds")
    assert (board.n_list, board.table["mean"].tolist(), board.table["rank"].tolist()) == (2, [0.2], [1])
    assert "over 2 images" in board.caption


@pytest.fixture
def hostile(kit):
    """A board whose names try to be markup, and with every kind of missing value."""
    cells = [kit.cell("a|b *c* <d> [red]x[/red] \x1b[31m\n`e`"), kit.cell('=half, "q"'), kit.cell("none")]
    rows = frame(kit, cells, [{"i": 0.1, "j": "undefined-map"}, {"i": 0.5}, {}])
    return leaderboard(rows, cells, ["i", "j"], notes=["a note"])


def test_text_has_no_control_characters_and_keeps_names(hostile):
    text = hostile.to_text()
    assert "a|b *c* <d> [red]x[/red] ?[31m?`e`" in text
    assert all(character.isprintable() or character == "\n" for character in text)
    assert hostile.caption.split(".")[0] in " ".join(text.split())
    for width in (72, 80, 100, 140):
        assert max(map(len, hostile.to_text(width).splitlines())) <= width
    assert "\x1b[" in hostile.to_text(80, colour=True)


def test_markdown_keeps_its_table(hostile):
    lines = hostile.to_markdown().splitlines()
    body = [line for line in lines if line.startswith("|")]
    assert len(body) == 2 + 3
    assert {line.replace("\\|", "").count("|") for line in body} == {len(COLUMNS) + 1}
    assert r"a\|b \*c\* \<d\> \[red\]x\[/red\] ?\[31m?\`e\`" in hostile.to_markdown()


def test_csv_is_read_back(hostile):
    rows = list(csv.DictReader(io.StringIO(hostile.to_csv())))
    assert tuple(rows[0]) == COLUMNS
    names = {row["method"] for row in rows}  # no formula, and no control character
    assert names == {"a|b *c* <d> [red]x[/red] ?[31m?`e`", '\'=half, "q"', "none"}
    assert next(row for row in rows if row["method"] == "none")["mean"] == ""
    assert [row["rank"] for row in rows] == ["", "1", ""]


def test_json_has_null_and_the_context(hostile):
    value = json.loads(hostile.to_json(), parse_constant=lambda word: pytest.fail(word))
    assert value["context"]["model"]["name"] == "resnet50"
    assert next(row for row in value["rows"] if row["method"] == "none")["mean"] is None
    assert next(row for row in value["rows"] if row["n_undefined"])["rank"] == 1
    assert value["notes"] == ["a note"]
