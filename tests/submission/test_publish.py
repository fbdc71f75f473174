"""A submission becomes part of a board: beside what is there, with its record, and with nothing that was forged."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

sys.path.append(str(Path(__file__).parent))  # for `records.py`
from records import made_record, own_results

from xaibench.errors import XaibenchError
from xaibench.files import write_json
from xaibench.publication.api import publish, withdraw
from xaibench.publication.index import read_index
from xaibench.publication.submissions import with_states
from xaibench.publication.sums import write_sums
from xaibench.submission.pack import submit
from xaibench.submission.publish import publish_submission


def record_in(folder: Path, value: dict) -> Path:
    path = folder / f"record-{len(list(folder.glob('record-*')))}.json"
    path.write_text(json.dumps(value))
    return path


def said(board: Path) -> dict[str, str]:
    """By method what the CSV of all boards says of its replay; "" without such a column."""
    return {row["method"]: row.get("replay", "") for row in csv.DictReader((board / "leaderboard.csv").open())}


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def kept(packed, tmp_path) -> Path:
    """A board with own runs of two methods."""
    publish(own_results(packed.root / "results", tmp_path / "own"), tmp_path / "board")
    return tmp_path / "board"


def test_results_are_added_to_those_of_the_board_and_say_where_they_are_from(packed, kept, tmp_path, command):
    before = files(kept)
    assert set(said(kept).values()) == {""} and b"submissions" not in before["board.json"]
    record = record_in(tmp_path, made_record(packed.folder, "all"))
    status, out, err = command("publish", packed.zip, "--to", kept, "--quiet")
    assert status == 0, (out, err)
    own = dict.fromkeys(("ixg", "random", "saliency"), "own run of the board")
    assert said(kept) == own | {"mine": "not replayed"}
    assert command("publish", packed.zip, "--to", kept, "--replay", record, "--quiet")[0] == 0
    again = dict.fromkeys(("mine", "ixg", "random"), "verified by replay")  # the board had two of them: the same rows
    assert said(kept) == again | {"saliency": "own run of the board"}
    status, out, _ = command("validate", kept)
    assert status == 0 and "no problems" in out

    index = read_index(kept)
    (entry,) = index.submissions
    assert (entry.submission, entry.methods, len(entry.cells)) == (packed.hash, ["mine"], 1)
    assert json.loads((kept / f"replays/{entry.replays[0]}.json").read_text()) == json.loads(record.read_text())
    assert index.version == 3 and len(index.boards) == 1 and len(index.boards[0].cells) == 4
    (board,) = before.keys() & {path for path in before if path.startswith("boards/") and path.endswith(".csv")}
    assert (kept / "versions/1" / board).read_bytes() == before[board]
    markdown = (kept / index.boards[0].markdown).read_text()
    assert "| replay |" in markdown and "verified by replay" in markdown


def test_what_is_said_stands_before_what_a_method_costs():
    table = pd.DataFrame({"method": ["a", "b"], "mean": [1.0, 2.0], "passes": [3, 4]})
    cells = [SimpleNamespace(method_name=name, key=name * 16) for name in "ab"]
    found = with_states(table, cells, {"a" * 16: "not replayed"})
    assert list(found) == ["method", "mean", "replay", "passes"] and list(found["replay"]) == ["not replayed", ""]
    assert with_states(table, cells, {}) is table


@pytest.mark.slow
def test_the_same_gives_the_same_bytes(packed, tmp_path):
    record = record_in(tmp_path, made_record(packed.folder, 20))
    first = publish_submission(packed.zip, tmp_path / "a", replay=record)
    publish_submission(packed.folder, tmp_path / "b", replay=record)
    assert first.changed and files(tmp_path / "a") == files(tmp_path / "b")
    assert not publish_submission(packed.zip, tmp_path / "a", replay=record).changed
    assert files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "word"),
    [({"public": False}, "replayed, weights are not public"), ({"changed": 1}, "replay found differences"),
     ({"asked": 1}, "not replayed"), ({}, "verified by replay")],
)  # fmt: skip
def test_each_word_is_said_of_what_it_means(packed, tmp_path, value, word):
    record = record_in(tmp_path, made_record(packed.folder, **({"asked": "all"} | value)))
    publish_submission(packed.zip, tmp_path / "board", replay=record)
    assert set(said(tmp_path / "board").values()) == {word}


@pytest.mark.slow
def test_a_later_record_does_not_undo_a_difference(packed, tmp_path):
    for value in (made_record(packed.folder, "all", changed=1), made_record(packed.folder, "all")):
        publish_submission(packed.zip, tmp_path / "board", replay=record_in(tmp_path, value))
    assert set(said(tmp_path / "board").values()) == {"replay found differences"}
    assert len(read_index(tmp_path / "board").submissions[0].replays) == 2


@pytest.mark.parametrize("kind", ["another submission", "another draw", "a changed number", "a private name", "script"])
def test_a_forged_record_changes_nothing(packed, kept, tmp_path, kind):
    value = made_record(packed.folder)
    changes = {
        "another submission": {"submission": "0" * 64}, "another draw": {"fresh": "cd" * 16},
        "a changed number": {"rows": [{**value["rows"][0], "submitted": 0.5}, *value["rows"][1:]]},
        "a private name": {"xaibench": "/home/ann/x"}, "script": {"fresh": "<script>alert(1)</script>"},
    }  # fmt: skip
    before = files(kept)
    with pytest.raises(XaibenchError) as error:
        publish_submission(packed.zip, kept, replay=record_in(tmp_path, value | changes[kind]))
    assert files(kept) == before and "\n" not in str(error.value) and "<script>" not in str(error.value)
    assert kind != "another submission" or "is of the submission 000000000000" in str(error.value)


@pytest.mark.slow
def test_the_costs_of_a_boards_results_are_its_own(packed, mine, kept, relisted):
    """A submitted run says what others cost: it is heard of the results that it brings alone."""
    cost = {"images": 8, "maps": 8, "forward_equivalents_alone": 999.0, "forward_equivalents_shared": 999.0,
            "seconds_alone": 999.0, "seconds_shared": 999.0}  # fmt: skip
    path = next(mine.glob("runs/*.json"))
    write_json(path, json.loads(path.read_text()) | {"costs": {"ixg": cost, "mine": cost}})
    relisted(mine)
    publish_submission(mine, kept)
    rows = {row["method"]: row for row in csv.DictReader((kept / "leaderboard.csv").open())}
    assert (rows["ixg"]["passes"], rows["mine"]["passes"]) == ("", "999.0")
    before = files(kept)
    assert not publish_submission(mine, kept).changed  # nor is it when the board has that run already
    assert files(kept) == before


def test_a_failure_while_writing_leaves_the_board(packed, kept, tmp_path, monkeypatch):
    before = files(kept)

    def fail(root: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("xaibench.publication.api.write_sums", fail)
    with pytest.raises(KeyboardInterrupt):
        publish_submission(packed.zip, kept, replay=record_in(tmp_path, made_record(packed.folder)))
    assert files(kept) == before and not list(kept.parent.glob(".board*"))


def test_a_changed_submission_and_records_without_one_are_refused(packed, mine, kept, tmp_path, command, relisted):
    path = next(mine.glob("cells/*.json"))
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    relisted(mine)
    before = files(kept)
    with pytest.raises(XaibenchError, match="not published: cells/"):
        publish_submission(mine, kept)
    assert files(kept) == before
    status, _, err = command("publish", packed.root / "results", "--to", kept, "--replay", tmp_path / "r.json")
    assert status and "are about submissions" in err
    for verb, more in (("publish", ("--to", kept, "--replay", tmp_path / "r.json")), ("validate", ("--replay", 3))):
        status, _, err = command(verb, tmp_path / "mine.zip", *more)
        assert status == 2 and "mine.zip is not there" in err and err.count("\n") == 1
    status, _, err = command("publish", packed.zip, "--to", kept, "--model", "resnet18")
    assert status and "is published whole" in err


@pytest.mark.slow
def test_a_method_of_others_is_replaced_only_when_asked(packed, tmp_path):
    """The same name with other code: refused, and with --replace the old one stays in its version."""
    board = tmp_path / "board"
    publish_submission(packed.zip, board)
    old = read_index(board).boards[0].cells
    newer = edited(packed, tmp_path)
    with pytest.raises(XaibenchError, match=r"another method mine: .* --replace mine"):
        publish_submission(newer, board)
    publish_submission(newer, board, replaced=["mine"])
    index = read_index(board)
    (gone,) = set(old) - set(index.boards[0].cells)
    assert len(index.boards[0].cells) == 3 and list(board.glob(f"versions/1/rows/*/*/{gone}.parquet"))
    assert [one.methods for one in index.submissions] == [["mine"], ["mine"]]


def edited(packed, folder: Path) -> Path:
    """A submission of the same results by an edited plug-in."""
    from xaibench.results.cells import Cell
    from xaibench.results.manifest import RunManifest, load_runs
    from xaibench.results.schema import row_table
    from xaibench.results.store import Store
    from xaibench.sources import file_source

    plugin = folder / "plugin_mine.py"
    plugin.write_text((packed.root / "plugin_mine.py").read_text() + "# edited\n")
    old, new = Store.open(packed.root / "results"), Store.create(folder / "edited")
    cells = []
    for cell in old.cells().values():
        source = {"source": file_source(plugin)} if cell.method_name == "mine" else {}
        cells.append(Cell(cell.context, cell.method | source))
        rows = old.rows([cell.key]).assign(cell=cells[-1].key)
        new.register(cells[-1:])
        new.append(row_table({name: rows[name] for name in rows.columns}))
    (run,) = load_runs(old)
    images = {"list": new.save_list(old.load_list(run.images["list"])), "count": run.images["count"]}
    made = RunManifest(
        run.command, protocols=run.protocols, cells=[cell.key for cell in cells], boards=run.boards, images=images,
        precision="float32", config=run.config, device="cpu", arithmetic="ieee",
    )  # fmt: skip
    made.finish("complete")
    made.save(new)
    submit(folder / "edited", plugin, folder / "edited.zip")
    return folder / "edited.zip"


@pytest.mark.slow
def test_validate_finds_records_that_do_not_match_the_rows(packed, tmp_path, command):
    board = tmp_path / "board"
    publish_submission(packed.zip, board, replay=record_in(tmp_path, made_record(packed.folder)))
    path = next(board.glob("replays/*.json"))
    value = json.loads(path.read_text())
    for change in ({"fresh": "cd" * 16}, {"submission": "0" * 64}, {"equal": 1}):
        path.write_text(json.dumps(value | change))
        write_sums(board)
        status, out, _ = command("validate", board)
        assert status == 1 and f"replays/{path.stem}.json: replay: " in out
        status, _, err = command("publish", board, "--to", tmp_path / "other", "--quiet")  # a board prepared by others
        assert status == 2 and f"replays/{path.stem}.json: " in err and not (tmp_path / "other").exists()


@pytest.mark.slow
def test_records_stay_when_results_are_withdrawn(packed, kept, tmp_path, command):
    publish_submission(packed.zip, kept, replay=record_in(tmp_path, made_record(packed.folder, "all")))
    withdraw(kept, ["mine"], "its author asked for it")
    assert set(said(kept)) == {"ixg", "random", "saliency"} and len(list(kept.glob("replays/*.json"))) == 1
    assert command("validate", kept)[0] == 0
    publish(tmp_path / "own", kept)
    assert len(read_index(kept).submissions) == 1


@pytest.mark.slow
def test_own_runs_of_what_was_submitted_are_own_runs(packed, tmp_path):
    publish_submission(packed.zip, tmp_path / "board")
    publish(packed.root / "results", tmp_path / "board")
    assert set(said(tmp_path / "board").values()) == {""}  # nothing is left that others brought
    publish(tmp_path / "board", tmp_path / "copy")  # a board folder brings its submissions
    assert read_index(tmp_path / "copy").submissions == read_index(tmp_path / "board").submissions
