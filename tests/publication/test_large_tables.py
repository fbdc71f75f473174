"""Tables of a board folder that come in parts: the bytes are those of one table, whatever the parts."""

from __future__ import annotations

import io

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xaibench.analysis.boards import boards
from xaibench.analysis.leaderboard import open_board
from xaibench.errors import XaibenchError
from xaibench.publication import rows, verify
from xaibench.publication.scrub import Scrubber
from xaibench.results.store import Store

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


def test_lines_of_scores_are_those_of_all_boards_at_once(results, tmp_path, monkeypatch):
    """Beside them the scores that pandas makes of the stored rows; the file is in parts of seven lines."""
    monkeypatch.setattr(rows, "GROUP", 7)
    store = Store.open(results)
    every = boards(store)
    rows.write_scores((open_board(store, board) for board in every), tmp_path)
    found = pq.ParquetFile(tmp_path / rows.SCORES)
    assert found.num_row_groups == -(-found.metadata.num_rows // 7) > len(every) > 1
    expected = []
    for board in every:
        names = {cell.key: cell.method_name for cell in board.cells}
        own = store.rows(names).fillna({"score": board.context["protocol"]["undefined_cost"]})
        own = own.assign(board=board.key, method=own["cell"].map(names))
        expected.append(own.sort_values(["method", "image_id"]))
    columns = ["protocol", "model", "dataset", "method", "image_id", "metric", "score", "board"]
    expected = pd.concat(expected, ignore_index=True)[columns]
    pd.testing.assert_frame_equal(found.read().to_pandas()[columns], expected, check_dtype=False)


def test_a_table_whose_parts_end_with_an_error_is_not_written(tmp_path):
    path = tmp_path / "table.parquet"
    path.write_bytes(b"before")

    def parts():
        yield table(3)
        raise XaibenchError("damaged")

    with pytest.raises(XaibenchError, match="damaged"):
        rows._write(parts(), SCHEMA, path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name] and path.read_bytes() == b"before"
