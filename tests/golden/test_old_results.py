"""A results folder that version 0.1 wrote is read, checked, shown, and added to by every later version.

Its rows, cells, records, lists and kept maps lie in results_0_1 beside the weights of their network, a plug-in and a
folder of cards. `python tests/golden/record.py results` wrote it, and is not to be run by a later version.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import old
import pandas as pd
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier

BOARDS = json.loads((old.FOLDER / "boards.json").read_text())


@pytest.fixture
def results(golden_home, tmp_path) -> Path:
    """A copy of the old results folder."""
    return old.copied(tmp_path / "copy")


def shards(results: Path) -> list[Path]:
    """The files of rows, in the order of their writing."""
    return sorted((results / "rows").glob("*.parquet"))


def table(paths: list[Path]) -> pd.DataFrame:
    """The rows in some files."""
    return pd.concat([pq.read_table(path).to_pandas() for path in paths])


def record(results: Path, protocol: str) -> dict:
    """The oldest record of a run of a protocol."""
    records = [json.loads(path.read_text()) for path in sorted((results / "runs").glob("*.json"))]
    return next(one for one in records if protocol in one["protocols"])


def test_it_has_no_problems(results, command):
    status, out, error = command("validate", results)
    assert status == 0 and out == "68 rows in 10 cells: no problems\n", out + error


def test_a_changed_row_is_a_problem(results, command):
    """So the check above can fail."""
    path = shards(results)[0]
    rows = pq.read_table(path)
    changed = rows.set_column(rows.column_names.index("cell"), "cell", [["0" * 16] * rows.num_rows])
    pq.write_table(changed.cast(rows.schema), path)
    status, out, _ = command("validate", results)
    assert status == 1 and "orphan" in out


@pytest.mark.parametrize("protocol", old.PROTOCOLS)
def test_boards_are_as_they_were(results, command, protocol):
    status, out, error = command("leaderboard", protocol, "--out", results, "--format", "json")
    assert status == 0, error
    assert old.means(out) == pytest.approx(BOARDS[protocol], rel=1e-12)


def test_status_finds_everything(results, command):
    status, out, error = command("status", "--out", results)
    assert status == 0 and out.endswith("nothing is missing\n"), out + error
    assert "old_tiny" in out and out.count("4 of 4 methods complete on the list of 4 images") == 2
    assert "2 of 2 methods complete on the list of 2 images" in out


def test_kept_maps_are_shown(results, command):
    code = old.filled(old.CODE, results.parent)
    words = ("--protocol", "pointing-game", *code, "--images", 1, "--out", "kept.png", "--device", "cpu", "--quiet")
    status, out, error = command("show", "run", results, *words)
    assert status == 0 and "maps: as kept by the run" in out and Path("kept.png").stat().st_size > 1000, out + error


def test_maps_are_made_again_from_the_recorded_command(results, command):
    """The cells that are planned now have the keys of the stored ones, or this is refused."""
    code = old.filled(old.CODE, results.parent)
    words = ("--protocol", "epg", *code, "--images", 1, "--out", "made.png", "--device", "cpu", "--quiet")
    status, out, error = command("show", "run", results, *words)
    assert status == 0 and "made again with the same weights and settings" in out, out + error
    assert Path("made.png").stat().st_size > 1000


@pytest.mark.slow
def test_the_same_command_computes_nothing_but_what_a_newer_version_replaces(results, command):
    """sds has version 2 since then: its old rows stay, are never extended, and are titled; those of epg are current."""
    before = shards(results)
    status, out, error = command(*shlex.split(record(results, "pointing-game")["command"])[1:])
    assert status == 0 and "nothing was missing" in out, out + error
    assert shards(results) == before
    status, out, error = command("status", "--out", results)
    again = "made with sds version 1, now 2; to make it again: xaibench run sds,epg --model old_tiny"
    assert status == 0 and out.count(again) == 1, out + error
    rows = table(before)
    status, out, error = command(*shlex.split(record(results, "sds")["command"])[1:])
    assert status == 0 and "computed 4 images" in out, out + error
    new = table([path for path in shards(results) if path not in before])
    assert set(new["protocol"]) == {"sds"} and not set(new["cell"]) & set(rows["cell"])
    status, out, error = command("leaderboard", "sds", "--out", results, "--format", "json")
    assert status == 0 and json.loads(out)["context"]["protocol"]["version"] == 2, error
    assert error.count("replaced: sds version 1 (--board 9242ad)") == 1
    status, out, error = command("leaderboard", "sds", "--out", results, "--format", "json", "--board", "9242ad")
    assert status == 0 and old.means(out) == pytest.approx(BOARDS["sds"], rel=1e-12)
    assert "replaced: sds version 1" in json.loads(out)["title"]
    current = pd.read_parquet(results / "current.parquet").set_index("cell")["current"]
    assert not current[rows.loc[rows["protocol"] == "sds", "cell"]].any() and current[new["cell"]].all()
    assert current[rows.loc[rows["protocol"] == "epg", "cell"]].all()
    assert command("validate", results)[0] == 0


def test_more_images_and_a_method_more_compute_only_what_is_missing(results, command):
    before, first = table(shards(results)), record(results, "sds")
    old_shards = shards(results)
    listed = json.loads((results / "lists" / f"{first['images']['list']}.json").read_text())
    words = shlex.split(first["command"])[1:]
    words[words.index("--images") + 1] = "6"
    words[words.index("--methods") + 1] += ",saliency"
    status, out, error = command(*words)
    assert status == 0 and "computed 6 images" in out, out + error

    new = table([path for path in shards(results) if path not in old_shards])
    done = set(zip(new["protocol"], new["method"], new["image_id"], strict=True))
    images = sorted(set(new["image_id"]))
    assert len(images) == 6 and set(listed) < set(images)
    fresh = [image_id for image_id in images if image_id not in listed]
    wanted = {("epg", "saliency", i) for i in images} | {("epg", m, i) for m in BOARDS["epg"] for i in fresh}
    wanted |= {("sds", m, i) for m in (*BOARDS["sds"], "saliency") for i in images}  # of its version 2
    assert done == wanted
    epg = set(before.loc[before["protocol"] == "epg", "cell"])
    assert epg < set(new["cell"]) and not (set(before["cell"]) - epg) & set(new["cell"])
    assert command("validate", results)[0] == 0

    status, out, error = command("leaderboard", "epg", "--out", results, "--format", "json")
    assert status == 0 and set(old.means(out)) == {*BOARDS["epg"], "saliency"}, error
    rows = table(shards(results)).query("protocol == 'epg' and metric == 'epg'")
    same = rows[rows["image_id"].isin(listed)].groupby(["method", "image_id"])["score"].mean()
    assert same.groupby("method").mean().drop("saliency").to_dict() == pytest.approx(BOARDS["epg"], rel=1e-9)


def test_rows_computed_now_are_those_computed_then(results, command):
    """The same run into an empty folder gives the same images, answers and scores, and for epg the same keys; no map of
    these images is one whose cells tie, so the scores of both versions of sds are the same."""
    first = record(results, "sds")
    words = shlex.split(first["command"])[1:]
    words[words.index("--out") + 1] = "now"
    status, _, error = command(*words)
    assert status == 0, error
    then, now = (table(shards(folder)) for folder in (results, Path("now")))
    columns = [
        "protocol",
        "method",
        "image_id",
        "image_digest",
        "target",
        "unit",
        "metric",
        "status",
        "prediction",
        "label",
        "correct",
    ]
    then = then[then["cell"].isin(first["cells"])].sort_values(columns[:7]).reset_index(drop=True)
    now = now.sort_values(columns[:7]).reset_index(drop=True)
    pd.testing.assert_frame_equal(now[columns], then[columns])
    same = now["protocol"] == "epg"
    assert now.loc[same, "cell"].tolist() == then.loc[same, "cell"].tolist()
    assert not set(now.loc[~same, "cell"]) & set(then["cell"])
    assert now["score"].tolist() == pytest.approx(then["score"].tolist(), rel=1e-5)


def test_it_was_written_by_version_0_1():
    """And is small, and names no folder of the machine that wrote it."""
    records = [json.loads(path.read_text()) for path in (old.FOLDER / "results" / "runs").glob("*.json")]
    assert [record["versions"]["xaibench"] for record in records] == ["0.1.0"] * 2
    for record in records:
        paths = [word for word in shlex.split(record["command"]) if "/" in word]
        assert len(paths) == 4 and all(path.startswith(old.PLACE) for path in paths)
    assert sum(path.stat().st_size for path in old.FOLDER.rglob("*") if path.is_file()) < 150_000
