"""Results folders of others: what only looks like a list, a row, a shard or a folder is named, and not unfolded."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from xaibench.errors import XaibenchError
from xaibench.hashing import digest
from xaibench.locks import claim, try_lock
from xaibench.results import shard_files
from xaibench.results.maps import MapStore
from xaibench.results.schema import SCHEMA, VERSION_KEY, row_table
from xaibench.results.shard_files import shard_batches
from xaibench.results.store import FOLDERS, FURTHER, Store
from xaibench.results.validate import validate

TEXTS = [field.name for field in SCHEMA if field.type == pa.string()]
NO_LISTS = {
    "numbers": [1, 2], "tables": [{"a": 1}], "lists": [["a"], ["b"]], "nothing": [None], "an id twice": ["a", "a"],
    "no image": [], "an empty id": [""], "a long id": ["x" * 5000], "a table": {"a": "b"}, "a text": "ab",
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_LISTS)
def test_a_list_of_the_right_hash_has_ids_of_images(kind, store, cell, row):
    store.append(row_table([row(cell, "a")]))
    store.register([cell])
    name = digest(NO_LISTS[kind])
    (store.root / "lists" / f"{name}.json").write_text(json.dumps(NO_LISTS[kind]))
    with pytest.raises(XaibenchError, match="is no list of images"):
        store.load_list(name)
    assert [problem.kind for problem in validate(store.root)] == ["list"]


@pytest.mark.parametrize("folder", [*FOLDERS, *FURTHER])
@pytest.mark.parametrize("what", ["a link out of it", "a link to itself", "a file", "a pipe"])
def test_folders_are_folders_inside(folder, what, store, tmp_path):
    place, outside = store.root / folder, tmp_path / "outside"
    shutil.rmtree(place, ignore_errors=True)
    if what == "a link out of it":
        outside.mkdir()
        place.symlink_to(outside)
    elif what == "a link to itself":
        place.symlink_to(folder)
    elif what == "a file":
        place.write_text("x")
    else:
        os.mkfifo(place)
    for use in (Store.open, Store.create, validate):
        with pytest.raises(XaibenchError, match=f"{folder} is |is not a results folder"):
            use(store.root)
    assert not outside.exists() or not any(outside.iterdir())


def test_a_link_inside_of_the_folder_is_followed(store, cell, row):
    store.append(row_table([row(cell, "a")]))
    (store.root / "rows").rename(store.root / "elsewhere")
    (store.root / "rows").symlink_to("elsewhere")
    linked = store.root.with_name("link")
    linked.symlink_to(store.root)
    assert len(Store.open(linked).rows()) == 1


def test_maps_are_neither_read_nor_written_through_a_link(store, tmp_path):
    outside, maps = tmp_path / "outside", torch.rand(1, 1, 4, 4)
    path = MapStore(store.root).save("k" * 16, ["a"], torch.tensor([1]), maps)
    shutil.move(path.parent, outside)
    path.parent.symlink_to(outside)
    before = {entry: entry.stat().st_mtime_ns for entry in outside.iterdir()}
    assert MapStore(store.root).load("k" * 16, "a") == {}
    assert [problem.kind for problem in validate(store.root)] == ["map"]
    with pytest.raises(XaibenchError, match="is a link to a folder outside"):
        MapStore(store.root).save("k" * 16, ["b"], torch.tensor([1]), maps)
    assert {entry: entry.stat().st_mtime_ns for entry in outside.iterdir()} == before


def test_a_lock_that_is_a_link_empties_no_file(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "a.lock").symlink_to(precious)
    with pytest.raises(XaibenchError, match="is a link; remove it"), claim(tmp_path / "locks", ["a"], "me", "done"):
        pass
    with pytest.raises(XaibenchError, match="is a link; remove it"):
        try_lock(tmp_path / "locks", ["a"])
    assert precious.read_text() == "kept"


@pytest.mark.parametrize("folder", ["rows", "cells", "runs", "lists"])
def test_a_name_that_is_no_text_is_named(folder, store, cell, row):
    store.register([cell])
    store.append(row_table([row(cell, "a")]))
    store.save_list(["a"])
    whole = next(iter((store.root / folder).iterdir()), store.root / "x.json")
    place = Path(os.fsdecode(os.fsencode(store.root / folder) + b"/\xff\xfe" + whole.suffix.encode()))
    place.write_bytes(whole.read_bytes() if whole.exists() else b"{}")
    (problem,) = validate(store.root)
    assert "is no text in UTF-8" in problem.text


def as_others_write(path: Path, table: pa.Table, version: int) -> None:
    """A table as a file without the types of Arrow, whose texts may be one dictionary."""
    if not hasattr(pq.ParquetWriter, "add_key_value_metadata"):  # pyarrow 16, which reads such files all the same
        pytest.skip("this pyarrow cannot write metadata without the types of Arrow")
    plain = table.replace_schema_metadata(None)
    with pq.ParquetWriter(path, plain.schema, store_schema=False, dictionary_pagesize_limit=1 << 30) as writer:
        writer.write_table(plain)
        writer.add_key_value_metadata({VERSION_KEY.decode(): str(version)})


def folded(table: pa.Table, name: str, rows: int, size: int) -> pa.Table:
    """Rows that all have one text of that many bytes, which is stored once."""
    table = table.take(pa.array(np.zeros(rows, dtype="int64"))).combine_chunks()
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, dtype="int32")), pa.array(["x" * size]))
    place = table.schema.get_field_index(name)
    return table.set_column(place, pa.field(name, text.type, table.schema.field(name).nullable), text)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", TEXTS)
def test_rows_that_unfold_to_gigabytes_are_refused_folded(name, version, store, cell, row, monkeypatch):
    """40,000 rows in 4 kB, of 8 GB in memory."""
    table = row_table([row(cell, "a", reference_model="x")])
    table = table.drop(["label", "correct"]) if version == 1 else table
    path = store.root / "rows" / "bomb.parquet"
    as_others_write(path, folded(table, name, 40_000, 200_000), version)
    assert path.stat().st_size < 100_000
    seen = []
    check = shard_files.check_batch
    monkeypatch.setattr(shard_files, "check_batch", lambda batch: (seen.append(batch.nbytes), check(batch))[1])
    for read in (lambda: list(shard_batches(path)), Store.open(store.root).rows, lambda: Store(store.root).done([])):
        with pytest.raises(XaibenchError, match="bytes in a row"):
            read()
    (problem,) = validate(store.root)
    assert (problem.kind, "bytes in a row" in problem.text) == ("schema", True)
    assert seen and max(seen) < 10_000_000  # nothing was unfolded


def test_rows_that_are_each_in_bounds_are_refused_together(store, cell, row):
    path = store.root / "rows" / "bomb.parquet"
    as_others_write(path, folded(row_table([row(cell, "a")]), "metric", 700_000, 1700), 2)
    with pytest.raises(XaibenchError, match="more than 1024 MiB of texts"):
        list(shard_batches(path))


def test_many_honest_rows_of_one_dictionary_are_read(store, cell, row):
    count = 70_000
    table = row_table([row(cell, "a")]).take(pa.array(np.zeros(count, dtype="int64")))
    ids = pa.array([f"photos/{number:06}.png" for number in range(count)])
    path = store.append(table.set_column(1, SCHEMA.field("image_id"), ids))
    assert sum(batch.num_rows for batch in shard_batches(path)) == len(Store.open(store.root).rows()) == count


@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_are_not_utf_8_are_damage(name, store, cell, row):
    table = row_table([row(cell, "a", reference_model="x")])
    wrong = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"], pa.binary()).buffers())
    path = store.root / "rows" / "wrong.parquet"
    pq.write_table(table.set_column(table.schema.get_field_index(name), SCHEMA.field(name), wrong), path)
    problem = validate(store.root)[0]
    assert (problem.kind, problem.path) == ("unreadable", "rows/wrong.parquet")
    with pytest.raises(XaibenchError, match=r"wrong\.parquet is not a whole Parquet file"):
        Store.open(store.root).rows()


@pytest.mark.parametrize("name", ["target", "prediction"])
def test_a_class_below_0_is_none(name, store, cell, row):
    store.register([cell])
    with pytest.raises(ValueError, match=f"{name} is below 0"):
        row_table([row(cell, "a", **{name: -5})])
    rows = [row(cell, "a", **{name: -5})]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), store.root / "rows" / "forced.parquet")
    assert [problem.kind for problem in validate(store.root)] == ["row"]
