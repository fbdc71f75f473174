"""Nothing incomplete, mixed, damaged or outdated is published, and every refusal is one line that says what to do."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xaibench.errors import XaibenchError
from xaibench.locks import living
from xaibench.publication.api import Request, publish
from xaibench.publication.collect import Selection
from xaibench.results.schema import SCHEMA, VERSION_KEY
from xaibench.results.store import Store


@pytest.fixture
def refused(tmp_path):
    """Publishes tmp_path/results and gives the one line that says why it was refused; nothing is left."""

    def call(request: Request | None = None) -> str:
        with pytest.raises(XaibenchError) as error:
            publish(tmp_path / "results", tmp_path / "board", request or Request())
        assert not (tmp_path / "board").exists()
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".board")]
        text = str(error.value)
        assert len(text.splitlines()) == 1
        return text

    return call


@pytest.fixture
def whole(kit, tmp_path):
    """A results folder that would be published; gives its cells."""
    cells = kit.cells(kit.context())
    kit.run(tmp_path / "results", cells, kit.ids(6), command="xaibench run idsds --images 6")
    return cells


def test_methods_without_all_images(kit, tmp_path, refused):
    cells = kit.cells(kit.context())
    kit.run(tmp_path / "results", cells[:3], kit.ids(6), status="interrupted")
    kit.run(tmp_path / "results", cells[3:], kit.ids(6), rows=kit.ids(4), status="interrupted",
            command="xaibench run idsds --methods random")  # fmt: skip
    text = refused()
    assert "1 of 4 methods lack images, such as random 2 of 6" in text
    assert "to compute them: xaibench run idsds --methods random --out" in text


def test_methods_of_a_shorter_run_are_told_the_length_of_the_list(kit, tmp_path, refused):
    cells = kit.cells(kit.context())
    kit.run(tmp_path / "results", cells[3:], kit.ids(4), command="xaibench run idsds --methods random --images 4")
    kit.run(tmp_path / "results", cells[:3], kit.ids(6), command="xaibench run idsds --methods a,b,c --images 6")
    command = refused().partition("to compute them: ")[2]
    assert command == f"xaibench run idsds --methods random --out {tmp_path / 'results'} --images 6"


def test_a_run_that_runs(kit, tmp_path, whole, refused):
    store = Store(tmp_path / "results")
    path = next((store.root / "runs").iterdir())
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"status": "running"}))
    with living(store.root / "locks", f"run-{record['run']}"):
        assert "still runs" in refused()
    publish(store.root, tmp_path / "board")  # killed, with all of its rows


def test_damaged_rows_and_changed_cells(kit, tmp_path, whole, refused):
    shutil.copytree(tmp_path / "results", tmp_path / "sound")
    shard = Store(tmp_path / "results").shards()[0]
    shard.write_bytes(shard.read_bytes()[:-20])
    assert "is damaged: rows/" in refused() and "mend it first" in refused()
    shutil.rmtree(tmp_path / "results")
    shutil.copytree(tmp_path / "sound", tmp_path / "results")
    path = next((tmp_path / "results" / "cells").iterdir())
    path.write_text(path.read_text().replace('"quick"', '"paper"'))
    assert "it was changed" in refused()


def test_rows_in_tf32_that_say_float32(kit, tmp_path, refused):
    kit.run(tmp_path / "results", kit.cells(kit.context()), kit.ids(6), device="cuda:0 (a GPU)", arithmetic=None)
    assert "TF32" in refused()


def test_boards_of_older_cards(kit, tmp_path, refused):
    context = kit.context()
    context["protocol"] |= {"version": 1}
    kit.run(tmp_path / "results", kit.cells(context), kit.ids(6), command="xaibench run idsds --model resnet18")
    assert "made with idsds version 1, now" in refused()
    assert "compute it again: xaibench run idsds --model resnet18 --out" in refused()


def test_boards_that_newer_ones_replaced_are_left_out_or_refused(kit, tmp_path, whole, refused):
    context = kit.context()
    context["protocol"] |= {"version": 1}
    old = kit.cells(context)
    kit.run(tmp_path / "results", old, kit.ids(6))
    assert "replaced: idsds version 1" in refused(Request(Selection(board=old[0].board)))
    found = publish(tmp_path / "results", tmp_path / "board")
    assert [one.key for one in found.index.boards] == [whole[0].board]
    assert any(note.startswith("left out: ") and "replaced" in note for note in found.notes)


def test_lists_of_which_the_newer_is_shorter(kit, tmp_path, refused):
    cells = kit.cells(kit.context())
    long = kit.run(tmp_path / "results", cells, kit.ids(8), command="xaibench run idsds --images 8")
    again = kit.run(tmp_path / "results", cells, kit.ids(6), rows=[])
    text = refused()
    assert f"run {long.run} has 2 images" in text and "xaibench run idsds --images 8 --out" in text
    assert again.run not in text


def test_rows_of_two_schemas(kit, tmp_path, whole, refused):
    shard = Store(tmp_path / "results").shards()[0]
    table = pq.read_table(shard, partitioning=None)
    old = table.drop_columns(["label", "correct"]).replace_schema_metadata({VERSION_KEY: b"1"})
    pq.write_table(old, shard)
    assert "several schemas (1, 2)" in refused()
    for path in Store(tmp_path / "results").shards():
        table = pq.read_table(path, partitioning=None)
        if "label" in table.column_names:
            pq.write_table(table.drop_columns(["label", "correct"]).replace_schema_metadata({VERSION_KEY: b"1"}), path)
    publish(tmp_path / "results", tmp_path / "board")  # all of one schema: written in today's
    written = pq.read_schema(Store(tmp_path / "board").shards()[0])
    assert written.equals(SCHEMA, check_metadata=False) and isinstance(written, pa.Schema)


def test_results_that_no_run_recorded(kit, tmp_path, whole, refused):
    shutil.rmtree(tmp_path / "results" / "runs")
    assert "no run of it is recorded" in refused()


def test_targets_that_are_no_board_folder(kit, tmp_path, whole):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for target, words in [("results", "itself"), ("full", "not empty"), ("file", "is a file")]:
        with pytest.raises(XaibenchError, match=words):
            publish(tmp_path / "results", tmp_path / target)
    shutil.copytree(tmp_path / "results", tmp_path / "others")
    with pytest.raises(XaibenchError, match="no board folder"):
        publish(tmp_path / "results", tmp_path / "others")
    assert (tmp_path / "full" / "thesis.tex").read_text() == "mine"


def test_a_dry_run_lists_every_reason_and_writes_nothing(kit, tmp_path, command):
    for model in ("resnet18", "vgg16"):
        kit.run(tmp_path / "results", kit.cells(kit.context(model)), kit.ids(6), rows=kit.ids(4), status="interrupted")
    before = sorted(tmp_path.rglob("*"))
    status, out, err = command("publish", tmp_path / "results", "--to", tmp_path / "board", "--dry-run")
    assert (status, out) == (2, "")
    assert sum(line.startswith("not yet: board") for line in err.splitlines()) == 2
    assert "and 1 more reason)" in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_says_how_large_it_would_be(kit, tmp_path, whole, command):
    status, said, _ = command("publish", tmp_path / "results", "--to", tmp_path / "board", "--dry-run")
    assert (status, (tmp_path / "board").exists()) == (0, False)
    assert "would be version 1" in said and "1 board, 4 results" in said
    command("publish", tmp_path / "results", "--to", tmp_path / "board")
    files = [path for path in (tmp_path / "board").rglob("*") if path.is_file()]
    assert f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB" in said
