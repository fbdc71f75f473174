from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xaibench.errors import XaibenchError
from xaibench.results import schema
from xaibench.results.schema import SCHEMA, row_table
from xaibench.results.store import Store
from xaibench.results.validate import validate


def test_what_is_appended_is_read_back(store, cell, row):
    rows = [row(cell, "a", 0.25), row(cell, "b", None, status="undefined-map", target=None, prediction=None)]
    store.append(row_table(rows))
    frame = Store.open(store.root).rows()
    assert list(frame.columns) == SCHEMA.names
    assert frame["image_id"].tolist() == ["a", "b"]
    assert frame["score"].iloc[0] == 0.25
    assert frame["score"].isna().tolist() == [False, True]
    assert frame["target"].dtype == "Int32"
    assert frame["target"].isna().tolist() == [False, True]
    assert frame["reference_model"].isna().all()


def test_keys_and_columns_select(store, new_cell, row):
    first, second = new_cell("ig"), new_cell("rise")
    store.append(row_table([row(first, "a"), row(second, "a"), row(second, "b")]))
    frame = store.rows([second.key], columns=["image_id", "score"])
    assert frame.to_dict("list") == {"image_id": ["a", "b"], "score": [0.5, 0.5]}
    assert store.rows([]).empty
    assert store.done([first.key, second.key, "none"]) == {first.key: {"a"}, second.key: {"a", "b"}, "none": set()}
    assert store.digests([first.key]) == {"a": "d-a"}


def test_empty_store(store):
    assert store.rows().empty
    assert list(store.rows().columns) == SCHEMA.names
    assert store.done(["k"]) == {"k": set()}
    assert store.cells() == {}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sets(st.integers(0, 8), min_size=1), min_size=1, max_size=4))
def test_copies_of_simultaneous_runs_are_read_once(tmp_path_factory, cell, row, shards):
    store = Store.create(tmp_path_factory.mktemp("copies"))
    for images in shards:
        store.append(row_table([row(cell, str(image), target=target) for image in sorted(images) for target in (1, 2)]))
    union = set().union(*shards)
    frame = store.rows()
    assert len(frame) == 2 * len(union)
    assert not frame.duplicated(["image_id", "target"]).any()
    assert store.done([cell.key])[cell.key] == {str(image) for image in union}


def test_of_copies_the_oldest_stays_and_instances_are_all_kept(store, cell, row):
    instances = [row(cell, "i", score, unit="instance") for score in (0.1, 0.2, 0.2)]
    store.append(row_table([row(cell, "a", 0.5), *instances]))
    store.append(row_table([row(cell, "a", 0.6), *instances]))
    assert store.rows()["score"].tolist() == [0.5, 0.1, 0.2, 0.2]


def test_two_contents_of_one_image_are_noticed(store, cell, row):
    store.append(row_table([row(cell, "a")]))
    store.append(row_table([row(cell, "a", target=2, image_digest="other")]))
    with pytest.raises(XaibenchError, match="two different images with the id a"):
        store.digests([cell.key])


def test_cells_are_registered_once_and_words_are_renewed(store, new_cell):
    cell = new_cell("ig")
    store.register([cell, new_cell("rise")])
    since = store.cell(cell.key).registered
    cell.method["kind"] = "variant"
    store.register([cell])
    assert store.cell(cell.key).kind == "variant"
    assert store.cell(cell.key).registered == since
    assert set(store.cells()) == {cell.key, new_cell("rise").key}
    with pytest.raises(XaibenchError, match="is missing"):
        store.cell("0" * 16)


def test_lists_are_content_addressed(store):
    name = store.save_list(["b/1.png", "a/2.png"])
    assert store.save_list(["b/1.png", "a/2.png"]) == name
    assert store.load_list(name) == ["b/1.png", "a/2.png"]
    assert store.save_list(["a/2.png", "b/1.png"]) != name
    (store.root / "lists" / f"{name}.json").write_text('["b/1.png"]')
    with pytest.raises(XaibenchError, match="was changed"):
        store.load_list(name)
    with pytest.raises(ValueError, match="twice"):
        store.save_list(["a", "a"])


def test_a_full_disk_loses_nothing_and_leaves_nothing(store, cell, row, monkeypatch):
    store.append(row_table([row(cell, "a")]))
    before = sorted((store.root / "rows").iterdir())

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(XaibenchError, match=r"disk is full.*nothing stored before is lost") as caught:
            store.append(row_table([row(cell, "b")]))
        with pytest.raises(XaibenchError, match="disk is full"):
            Store.create(store.root)
    assert "\n" not in str(caught.value)
    assert sorted((store.root / "rows").iterdir()) == before
    assert store.done([cell.key]) == {cell.key: {"a"}}


@pytest.mark.process
def test_a_kill_in_the_middle_of_an_append(store, cell, row):
    store.append(row_table([row(cell, "a")]))
    script = f"""
import os, signal
from xaibench.results.schema import row_table
from xaibench.results.store import Store
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
Store({str(store.root)!r}).append(row_table([{row(cell, "b")!r}]))
"""
    result = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False)
    assert result.returncode == -signal.SIGKILL
    leftovers = [path for path in (store.root / "rows").iterdir() if path.suffix == ".tmp"]
    assert len(leftovers) == 1, "the kill came before the temporary file was written"
    again = Store.open(store.root)
    assert again.rows()["image_id"].tolist() == ["a"]
    assert again.done([cell.key]) == {cell.key: {"a"}}


def test_many_stores_append_at_once(store, cell, row):
    def append(image: int) -> Path:
        return Store.create(store.root).append(row_table([row(cell, str(image))]))

    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(append, range(40)))
    assert len(set(paths)) == 40
    assert store.done([cell.key])[cell.key] == {str(image) for image in range(40)}
    assert all(path.suffix == ".parquet" for path in (store.root / "rows").iterdir())


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(XaibenchError, match="read-only"):
        Store.create(tmp_path / "results")


def test_a_read_only_disk(tmp_path, monkeypatch):
    def closed(self, *args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(XaibenchError, match="read-only"):
        Store.create(tmp_path / "results")


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "results").write_text("mine")
    with pytest.raises(XaibenchError, match="a file is in the way"):
        Store.create(tmp_path / "results")
    assert (tmp_path / "results").read_text() == "mine"


def test_opening_what_is_no_results_folder(tmp_path):
    with pytest.raises(XaibenchError, match=r"no results in .*, which is not there; name a folder"):
        Store.open(tmp_path / "nothing")
    with pytest.raises(XaibenchError, match="not a results folder"):
        Store.open(tmp_path)


def test_truncated_and_alien_files_are_named(store, cell, row):
    path = store.append(row_table([row(cell, str(image)) for image in range(50)]))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(XaibenchError, match=rf"{path.name}.*xaibench validate"):
        Store.open(store.root).rows()
    damaged = bytearray(whole)
    damaged[4:400] = bytes(396)  # the footer is whole, the pages are not
    path.write_bytes(damaged)
    with pytest.raises(XaibenchError, match=rf"{path.name}.*xaibench validate"):
        Store.open(store.root).rows()
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(XaibenchError, match=rf"{path.name} was not written by xaibench"):
        Store.open(store.root).done([cell.key])


def write_version(store: Store, table: pa.Table, version: int, name: str) -> None:
    table = table.replace_schema_metadata({schema.VERSION_KEY: str(version).encode()})
    pq.write_table(table, store.root / "rows" / f"{name}.parquet")


def test_other_schema_versions(store, cell, row):
    write_version(store, row_table([row(cell, "a")]), 7, "new")
    with pytest.raises(XaibenchError, match=r"new.parquet has row schema 7, newer than 2"):
        Store.open(store.root).rows()
    write_version(store, row_table([row(cell, "a")]), 0, "new")
    with pytest.raises(XaibenchError, match=r"new.parquet has row schema 0, which .* cannot upgrade"):
        Store.open(store.root).rows()
    write_version(store, row_table([row(cell, "a")]).drop_columns(["unit"]), 2, "new")
    with pytest.raises(XaibenchError, match="other columns than row schema 2"):
        Store.open(store.root).rows()
    write_version(store, row_table([row(cell, "a")]).drop_columns(["unit", "label", "correct"]), 1, "new")
    with pytest.raises(XaibenchError, match="other columns than row schema 1"):
        Store.open(store.root).rows()


def test_old_shards_are_upgraded_beside_new_ones(store, new_cell, row, monkeypatch):
    cell, other = new_cell("ig"), new_cell("rise")
    old = row_table([row(cell, "a"), row(other, "a")]).drop_columns(["unit", "label", "correct"])
    write_version(store, old, 0, "00-old")
    store.append(row_table([row(cell, "b")]))

    def add_unit(table: pa.Table) -> pa.Table:
        return table.append_column("unit", pa.array(["image"] * table.num_rows))

    monkeypatch.setitem(schema.UPGRADES, 0, add_unit)
    frame = Store.open(store.root).rows([cell.key])
    assert sorted(frame["image_id"]) == ["a", "b"]
    assert frame["unit"].tolist() == ["image", "image"]
    assert store.done([cell.key]) == {cell.key: {"a", "b"}}
    assert store.digests([other.key]) == {"a": "d-a"}


def test_rows_of_version_1_are_read_without_labels_and_answers(store, cell, row):
    """As an earlier xaibench wrote them: what it did not record is null, everything else as it was."""
    store.register([cell])
    write_version(store, row_table([row(cell, "a", 0.25)]).drop_columns(["label", "correct"]), 1, "00-old")
    store.append(row_table([row(cell, "b", 0.5, label=4, correct=False)]))
    frame = Store.open(store.root).rows([cell.key]).sort_values("image_id")
    assert frame["score"].tolist() == [0.25, 0.5] and frame["prediction"].tolist() == [1, 1]
    assert frame["label"].isna().tolist() == frame["correct"].isna().tolist() == [True, False]
    assert (frame["label"].iloc[1], frame["correct"].iloc[1]) == (4, False)
    assert (str(frame["label"].dtype), str(frame["correct"].dtype)) == ("Int32", "boolean")
    assert validate(store.root) == []
