"""Results folders of others: what `validate` calls sound, every command reads; what it does not, none crashes on."""

from __future__ import annotations

import io
import json
import os
import shutil
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damage import EVIL_TEXTS, Content, broken_bytes, broken_json
from fuzzing import each, files
from hypothesis import strategies as st

from xaibench.parsing import is_text

pytestmark = pytest.mark.slow

OLD = Path(__file__).parents[1] / "golden" / "results_0_1" / "results"
COMMANDS = (
    ("status",), ("leaderboard", "sds"), ("leaderboard", "sds", "--format", "json"),
    ("leaderboard", "epg", "--by", "class"), ("leaderboard", "pointing-game"),
)  # fmt: skip
EXAMPLES = {"cells": 60, "runs": 50, "lists": 15, "rows": 35, "maps": 25, "values of rows": 40}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One copy of a results folder, which each example changes and puts right again."""
    copy = tmp_path_factory.mktemp("foreign") / "results"
    shutil.copytree(OLD, copy)
    return copy


def judged(said, folder: Path) -> None:
    """Every command ends well on a folder that is sound, and in one line or well on one that is not."""
    before = files(folder.parent)
    sound = said("validate", folder)[0] == 0
    for words in COMMANDS:
        status, _, err = said(*words, "--out", folder)
        assert status == 0 or not sound, (words, err)
    said("show", "run", folder, "--images", 1, "--out", "gallery.png")  # in the working folder
    assert files(folder.parent) == before, "commands that read write nothing there"
    assert {path.name for path in files(Path.cwd())} <= {"gallery.png"}


@pytest.mark.parametrize("kind", ["cells", "runs", "lists", "rows", "maps"])
def test_a_damaged_file(kind, folder, said, home):
    originals = {path: path.read_bytes() for path in sorted((folder / kind).rglob("*")) if path.is_file()}

    def damaged(path: Path) -> st.SearchStrategy[tuple[Path, Content]]:
        data = originals[path]
        broken = broken_json(json.loads(data)) if path.suffix == ".json" else broken_bytes(data)
        return st.tuples(st.just(path), broken)

    def check(case: tuple[Path, Content]) -> None:
        path, data = case
        try:
            path.write_bytes(data)
            judged(said, folder)
        finally:
            path.write_bytes(originals[path])

    each(st.sampled_from(sorted(originals)).flatmap(damaged), EXAMPLES[kind], check)
    judged(said, folder)
    assert said("validate", folder)[0] == 0


@st.composite
def tables(draw) -> pa.Table:
    """Rows as xaibench writes them, with the values of some columns replaced by those of no xaibench."""
    path = sorted((OLD / "rows").glob("*.parquet"))[0]
    table = pq.read_table(path)
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, table.num_columns - 1))
        field = table.schema.field(at)
        if pa.types.is_string(field.type):
            values = draw(st.sampled_from([*(text for text in EVIL_TEXTS if is_text(text)), None]))
        elif pa.types.is_floating(field.type):
            values = draw(st.sampled_from([float("nan"), float("inf"), -1e308, 1e308, 7.0, None]))
        elif pa.types.is_integer(field.type):
            values = draw(st.sampled_from([-1, 2**31 - 1, -(2**31), None]))
        else:
            values = draw(st.sampled_from([True, None]))
        field = field.with_nullable(field.nullable or values is None)
        column = pa.array([values] * table.num_rows, field.type)
        if draw(st.booleans()):  # in one row only
            column = pa.chunked_array([column.slice(0, 1), *table.column(at).slice(1).chunks])
        table = table.set_column(at, field, column)
    if draw(st.integers(0, 3)) == 0:
        table = draw(st.sampled_from([
            table.drop_columns(["score"]), table.append_column("more", pa.nulls(table.num_rows)),
            table.replace_schema_metadata({b"xaibench.schema": b"9" * 5000}), table.slice(0, 0),
            table.replace_schema_metadata(None), pa.concat_tables([table] * 3),
        ]))  # fmt: skip
    return table


def test_rows_of_other_values(folder, said, home):
    path = folder / "rows" / "foreign.parquet"

    def check(table: pa.Table) -> None:
        try:
            pq.write_table(table, path)
            judged(said, folder)
        finally:
            path.unlink()

    each(tables(), EXAMPLES["values of rows"], check)


@cache
def parquet_bomb() -> bytes:
    """A small file of 30 million equal rows."""
    buffer = io.BytesIO()
    table = pq.read_table(sorted((OLD / "rows").glob("*.parquet"))[0]).slice(0, 1)
    with pq.ParquetWriter(buffer, table.schema, compression="zstd") as writer:
        for _ in range(30):
            writer.write_table(table.take([0] * 1_000_000))
    assert len(buffer.getvalue()) < 3_000_000
    return buffer.getvalue()


def long_texts(path: Path) -> None:
    """A small file of rows with a megabyte of text each."""
    table = pq.read_table(sorted((OLD / "rows").glob("*.parquet"))[0]).slice(0, 1)
    text = pa.array(["a" * 1_000_000], pa.string())
    table = table.set_column(1, table.schema.field(1), text).take([0] * 500)
    pq.write_table(table, path, compression="zstd")


PLACES = (
    "rows/x.parquet", "runs/x.json", "cells/0123456789abcdef.json", "lists/0123456789abcdef.json", "locks/owner-x.json",
    "current.parquet", "maps/0123456789abcdef/x.safetensors",
)  # fmt: skip
ODD = {
    "a pipe": os.mkfifo,
    "a link to an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a link out of the folder": lambda path: path.symlink_to("/etc/hostname"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a folder": lambda path: path.mkdir(),
    "a file that unfolds to 30 million rows": lambda path: path.write_bytes(parquet_bomb()),
    "a file of long texts": long_texts,
}


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("name", PLACES)
def test_what_is_no_file(what, name, folder, said, home):
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    ODD[what](path)
    try:
        judged(said, folder)
        if name.startswith(("rows", "runs", "cells", "lists", "maps")):
            assert said("validate", folder)[0] == 1
    finally:
        path.rmdir() if what == "a folder" else path.unlink()
        if name.startswith("maps"):
            path.parent.rmdir()
