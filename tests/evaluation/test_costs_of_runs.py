"""The record of a run says what methods cost: of the maps that it made, whatever else was there already."""

from __future__ import annotations

import json

import pytest

import xaibench
from xaibench.results.manifest import RunManifest
from xaibench.results.store import Store

pytestmark = pytest.mark.process  # whole runs: not in the fast tier

HAND = {"ixg": (3, 1.5), "saliency": (3, 1.5), "grad-cam": (3, 3), "random": (0, 0)}


def run(**changes):
    words = {
        "model": "tiny", "dataset": "mini", "methods": ",".join(HAND), "images": 20, "batch_size": 4,
        "quiet": True, "out": "results",
    }  # fmt: skip
    return xaibench.run("ids", **words | changes)


def passes(results) -> dict[str, tuple[float, float]]:
    return {
        name: (cost["forward_equivalents_alone"], cost["forward_equivalents_shared"])
        for name, cost in results.manifest.costs.items()
    }


def test_costs_are_recorded_and_shown(home):
    results = run()
    assert passes(results) == HAND
    assert {(cost["images"], cost["maps"]) for cost in results.manifest.costs.values()} == {(20, 20)}
    assert RunManifest.load(results.path / "runs" / f"{results.manifest.run}.json").costs == results.manifest.costs
    rows = {row["method"]: row for row in json.loads(results.leaderboard().to_json())["rows"]}
    assert {name: (rows[name]["passes"], rows[name]["passes_shared"]) for name in HAND} == HAND
    assert rows["ixg"]["cost_images"] == 20
    for text in (results.leaderboard().to_text(), results.leaderboard().to_markdown(), results.leaderboard().to_html()):
        assert "passes" in text and "seconds" in text
    assert "passes,seconds,passes_shared,seconds_shared,cost_images" in results.leaderboard().to_csv()


def test_a_run_that_makes_no_maps_has_no_costs_and_a_board_keeps_those_it_had(home):
    run(images=12), run(methods="ixg", images=20)
    again = run(methods="ixg,saliency", images=20)
    assert passes(again) == {"saliency": (3, 3)} and again.manifest.costs["saliency"]["images"] == 8
    assert run(images=20).manifest.costs.keys() == {"grad-cam", "random"}
    assert run(images=20).manifest.costs == {}
    rows = json.loads(run(images=20).leaderboard().to_json())["rows"]
    assert {row["method"]: row["passes_shared"] for row in rows if row["method"] in HAND} == {
        "ixg": 3, "saliency": 3, "grad-cam": 3, "random": 0
    }  # fmt: skip


def test_an_oracle_is_made_by_its_protocol_and_has_no_cost(home):
    board = xaibench.run("epg", model="tiny", dataset="mini", methods="ixg,oracle", images=40, quiet=True).leaderboard()
    rows = {row["method"]: row for row in json.loads(board.to_json())["rows"]}
    assert rows["oracle"]["passes"] is None and rows["oracle"]["cost_images"] is None and rows["ixg"]["passes"] > 0
    assert "explained classes each" in "".join(board.notes), "several classes of an image are explained here"


@pytest.mark.slow
def test_kept_maps_cost_nothing_and_each_part_of_a_run_records_its_own(home):
    run(keep_maps=True, out="kept")
    other = xaibench.run("sds", model="tiny", dataset="mini", methods="ixg", images=20, out="kept", quiet=True)
    assert other.manifest.costs == {}
    parts = [run(out="parts", shard=f"{part}/2") for part in (1, 2)]
    assert sum(part.manifest.costs["ixg"]["images"] for part in parts) == 20
    assert all(passes(part) == HAND for part in parts)


def test_records_without_costs_and_with_costs_that_cannot_be(home):
    results = run()
    path = results.path / "runs" / f"{results.manifest.run}.json"
    written = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in written.items() if name != "costs"}))
    assert RunManifest.load(path).costs == {} and "passes" not in results.leaderboard().to_csv()
    for bad in (-1.0, "3"):
        written["costs"]["ixg"]["forward_equivalents_alone"] = bad
        path.write_text(json.dumps(written))
        with pytest.raises(xaibench.XaibenchError, match=r"costs\.ixg\.forward_equivalents_alone"):
            Store.open(results.path) and RunManifest.load(path)
