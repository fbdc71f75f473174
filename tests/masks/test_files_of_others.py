"""Files of masks whose header or rows no xaibench has written: one line that names the file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xaibench.errors import XaibenchError
from xaibench.masks.rle import encode
from xaibench.masks.store import HEADER_KEY, SCHEMA, Header, Masks, add_rows, row

SOUND = {"version": 1, "maker": "slic", "settings": {"min_area": 0.01}, "dataset": {"name": "mini"}, "side": 8}


def write(path: Path, header: bytes, rows: list[dict] | None = None) -> Path:
    masks = np.zeros((2, 8, 8), dtype=bool)
    masks[0, :4] = True
    rows = [row("image 1", "00", encode(masks), 0)] if rows is None else rows
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata({HEADER_KEY: header})), path)
    return path


def changed(**fields) -> bytes:
    return json.dumps({**SOUND, **fields}).encode()


def test_a_sound_file(tmp_path):
    path = write(tmp_path / "m.parquet", changed())
    assert Masks(path).header == Header("slic", {"min_area": 0.01}, {"name": "mini"}, 8)
    add_rows(path, Masks(path).header, [], {})
    assert Masks(path).load("image 1").sum() == 32


HEADERS = {
    "a list": b"[]", "a number": b"5", "null": b"null", "empty": b"", "not UTF-8": b"\xff\xfe", "deep": b"[" * 100_000,
    "digits": b"1" * 5000, "NaN": changed(settings={"min_area": float("nan")}),
    "a version that is a text": changed(version="1"), "no version": json.dumps({"maker": "slic"}).encode(),
    "a maker that is a number": changed(maker=5), "settings that are a list": changed(settings=[]),
    "a data set that is a text": changed(dataset="mini"), "a side that is a text": changed(side="8"),
    "a side of 0": changed(side=0), "a negative side": changed(side=-8), "a huge side": changed(side=10**9),
    "half a side": changed(side=8.5), "packages of numbers": changed(packages={"a": 1}),
    "another field": changed(other=1), "a lone surrogate": changed(maker="\ud800"), "no side": b'{"version": 1}',
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADERS)
def test_wrong_headers(kind, tmp_path):
    path = write(tmp_path / "m.parquet", HEADERS[kind])
    with pytest.raises(XaibenchError, match=r"m\.parquet is Parquet, but not of masks") as caught:
        Masks(path)
    assert "\n" not in str(caught.value)


def test_masks_of_a_newer_version(tmp_path):
    with pytest.raises(XaibenchError, match="masks of version 2, newer than 1"):
        Masks(write(tmp_path / "m.parquet", changed(version=2)))


@pytest.mark.parametrize("counts", [[[64, 1]], [[-1, 65]], [[]], [[2**31 - 1] * 4]], ids=str)
def test_runs_that_fill_no_mask(counts, tmp_path):
    path = write(tmp_path / "m.parquet", changed(), [row("a", "00", counts, 0)])
    with pytest.raises(XaibenchError, match="are no mask of 8 x 8"):
        Masks(path).load("a")


def test_more_masks_than_memory(tmp_path):
    path = write(tmp_path / "m.parquet", changed(side=4096), [row("a", "00", [[0]] * 600, 0)])
    with pytest.raises(XaibenchError, match="a has 600 masks, more than fit"):
        Masks(path).load("a")


def test_pipes_and_devices_are_not_read(tmp_path):
    write(tmp_path / "a.parquet", changed())
    os.mkfifo(tmp_path / "b.parquet")
    with pytest.raises(XaibenchError, match=r"b\.parquet is no regular file"):
        Masks(tmp_path)
