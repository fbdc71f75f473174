"""Costs on boards: from the newest run that has them for the key, with what a reader must know."""

from __future__ import annotations

import json

from xaibench.analysis.leaderboard import open_leaderboard


def cost(passes: float, images: int = 4, maps: int | None = None) -> dict:
    return {
        "images": images, "maps": maps or images, "forward_equivalents_alone": passes,
        "forward_equivalents_shared": passes, "seconds_alone": passes, "seconds_shared": passes,
    }  # fmt: skip


def passes(board) -> dict[str, float | None]:
    return {row["method"]: row["passes"] for row in json.loads(board.to_json())["rows"]}


def test_each_method_has_the_numbers_of_the_newest_run_that_made_its_maps(kit, store):
    cells, ids = [kit.cell("ig"), kit.cell("rise"), kit.cell("ixg")], kit.ids(4)
    scores = [dict.fromkeys(ids, value) for value in (0.1, 0.2, 0.3)]
    days = (f"2026-01-0{day}T00:00:00+00:00" for day in range(1, 9))
    kit.record(store, cells, scores, ids, started=next(days))
    assert "passes" not in open_leaderboard(store, "idsds").table
    kit.record(store, cells, [{}] * 3, ids, started=next(days), costs={"ig": cost(9), "rise": cost(200)}, device="cpu")
    assert passes(open_leaderboard(store, "idsds")) == {"ig": 9, "rise": 200, "ixg": None}
    kit.record(store, cells, [{}] * 3, ids, started=next(days), costs={"ig": cost(48, 8)}, device="cpu")
    kit.record(store, cells, [{}] * 3, ids, started=next(days))  # computed nothing
    board = open_leaderboard(store, "idsds")
    assert passes(board) == {"ig": 48, "rise": 200, "ixg": None}
    assert any("means over 4 to 8 images, on cpu" in note for note in board.notes)
    assert not any("several ways" in note for note in board.notes)
    kit.record(store, cells, [{}] * 3, ids, started=next(days), costs={"rise": cost(200, 4, 8)}, device="cuda")
    notes = " ".join(open_leaderboard(store, "idsds").notes)
    assert "2.0 explained classes each" in notes and "not to be compared" in notes


def test_costs_of_an_older_version_of_a_method_are_not_those_of_the_newer(kit, store):
    ids = kit.ids(4)
    old, new = kit.cell("ig", source="1"), kit.cell("ig", source="2")
    for cell, more, day in ((old, {"costs": {"ig": cost(9)}}, 1), (new, {}, 2)):
        kit.record(store, [cell], [dict.fromkeys(ids, 0.1)], ids, started=f"2026-01-0{day}T00:00:00+00:00", **more)
    board = open_leaderboard(store, "idsds")
    assert board.source.cells[0].key == new.key and "passes" not in board.table
