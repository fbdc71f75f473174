"""Tables of a board folder that come in parts: the bytes are those of one table, whatever the parts."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xaibench.errors import XaibenchError
from xaibench.publication import rows, verify
from xaibench.publication.scrub import Scrubber

SCHEMA = pa.schema([
    pa.field("text", pa.string(), metadata={rows.DESCRIPTION: b"a text"}),
    pa.field("score", pa.float64(), metadata={rows.DESCRIPTION: b"a score"}),
])  # fmt: skip


def table(count: int) -> pa.Table:
    texts = [None if n % 7 == 0 else f"image {n}" for n in range(count)]
    return pa.table({"text": texts, "score": [n / 3 for n in range(count)]}, SCHEMA)


@pytest.mark.parametrize("count", [0, 3, 10, 20, 47])
def test_the_bytes_are_those_of_one_table(tmp_path, monkeypatch, count):
    monkeypatch.setattr(rows, "GROUP", 10)
    whole = table(count)
    for size in (1, 4, 10, 100):
        parts = [whole.slice(start, size) for start in range(0, count, size)]
        rows._write(parts, SCHEMA, tmp_path / f"{size}.parquet")
    metadata = {f"description of {f.name}".encode(): f.metadata[rows.DESCRIPTION] for f in SCHEMA}
    buffer = io.BytesIO()
    pq.write_table(whole.replace_schema_metadata(metadata), buffer, version="2.6", compression="zstd",
                   compression_level=3, row_group_size=10)  # fmt: skip
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {buffer.getvalue()}


def test_the_last_look_sees_every_part(tmp_path, monkeypatch):
    monkeypatch.setattr(verify, "BATCH", 10)
    texts = [f"image {n}" for n in range(38)]
    pq.write_table(pa.table({"text": ["firstperson", *texts, "lastperson"]}), tmp_path / "scores.parquet")
    verify.verify(tmp_path, Scrubber().knowing(["someoneelse"], []))
    for private in ("firstperson", "lastperson"):
        with pytest.raises(XaibenchError, match=private):
            verify.verify(tmp_path, Scrubber().knowing([private], []))
