"""What was judged, on disk: one Parquet file for each part of a protocol on a network, under a key of all that can
change a number; written as a whole or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from xaibench.errors import XaibenchError, one_line
from xaibench.files import check_folder, check_regular, make_folder, write_atomic
from xaibench.hashing import digest
from xaibench.parsing import parse_json

RECORD = b"xaibench.judged"
SCHEMA = pa.schema([
    pa.field("what", pa.string(), nullable=False),
    pa.field("truth", pa.string(), nullable=False),
    pa.field("name", pa.string(), nullable=False),
    pa.field("dose", pa.float64(), nullable=False),
    pa.field("image_id", pa.string(), nullable=False),
    pa.field("quality", pa.float64()),
    pa.field("status", pa.string(), nullable=False),
])  # fmt: skip
ROW = ["what", "truth", "name", "dose", "image_id"]  # no two rows have the same
COSTS = ("shared_passes", "passes", "shared_seconds", "seconds")
MOST_ROWS = 10_000_000  # of a file: some hundred times those of the large profile
MEANINGS = {
    "what": "`ladder`, `attack`, or a variant of the ranking of methods such as `methods`, `seed`, `baseline`, `grid`",
    "truth": "which truth the ladder starts from; empty elsewhere",
    "name": "the kind of degradation, the attack or the method",
    "dose": "of the degradation, in [0, 1]; 0 elsewhere",
    "image_id": "the name of the image",
    "quality": "the score, or its negative where lower is better; null where the image has none",
    "status": "`ok`, `undefined-map`, `undefined-reference`; `no-truth`, `no-order` for a ladder that there is not",
}
"""The meaning of each column."""


class JudgedFolder:
    """A folder with rows/<key>.parquet. A file holds the rows of one part and, in its header, what its key hashes and
    what the part took."""

    def __init__(self, root: Path):
        self.root = root

    def create(self) -> None:
        """Makes the folder; raises XaibenchError where it cannot be written."""
        make_folder(self.root)
        check_folder(self.root / "rows")
        make_folder(self.root / "rows")

    def path(self, key: str) -> Path:
        """The file of a key."""
        return self.root / "rows" / f"{key}.parquet"

    def has(self, key: str) -> bool:
        """Whether the rows of a key are stored."""
        return self.path(key).is_file()

    def write(self, identity: Mapping[str, Any], rows: Iterable[Mapping[str, Any]], cost: Mapping[str, float]) -> None:
        """Stores rows under the key of their identity."""
        table = pa.Table.from_pylist(list(rows), schema=SCHEMA)
        record = {"identity": identity, "cost": cost, "rows": len(table)}
        table = table.replace_schema_metadata({RECORD: json.dumps(record, allow_nan=False).encode()})
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        write_atomic(self.path(key_of(identity)), buffer.getvalue())

    def records(self) -> dict[str, dict[str, Any]]:
        """Identity and cost of all that is stored, by key; raises XaibenchError for a damaged or renamed file."""
        found = {}
        for path in sorted((self.root / "rows").glob("*.parquet")):
            with _reading(path):
                check_regular(path)  # opening a pipe waits forever
                record = _record(pq.read_schema(path).metadata or {})
                if key_of(record["identity"]) != path.stem:
                    raise ValueError("what it holds belongs under another name")
                found[path.stem] = record
        return found

    def rows(self, key: str) -> pd.DataFrame:
        """The rows of a key; raises XaibenchError where they are damaged."""
        path = self.path(key)
        with _reading(path):
            check_regular(path)
            file = pq.ParquetFile(path)
            count = file.metadata.num_rows
            written = _record(file.schema_arrow.metadata or {}).get("rows", count)  # not in files of before
            if not file.schema_arrow.equals(SCHEMA) or not 0 < count <= MOST_ROWS or count != written:
                raise ValueError(f"{count} rows of {len(file.schema_arrow)} columns")
            table = file.read().to_pandas()
            if table.duplicated(ROW).any():
                raise ValueError("rows that are there twice")
        return table


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = one_line(error, 80)
        raise XaibenchError(f"{path} is no file of `xaibench judge` ({reason}); move it away") from None


def _record(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """What the header of a file says; raises KeyError, TypeError or ValueError for what is no such header."""
    record = parse_json(metadata[RECORD])
    identity, cost = record["identity"], record["cost"]
    kinds = {"version": int, "part": str, "protocol": dict, "network": dict, "seed": int, "label": str}
    if not (isinstance(identity, dict) and isinstance(cost, dict) and isinstance(identity["network"]["name"], str)):
        raise TypeError("a header of another kind")
    if any(type(identity[name]) is not kind for name, kind in kinds.items()):
        raise TypeError("an identity of another kind")
    if cost and (set(cost) != set(COSTS) or not all(type(value) in (int, float) for value in cost.values())):
        raise TypeError("costs of another kind")
    return record


def key_of(identity: Mapping[str, Any]) -> str:
    """The key of an identity: a hash of all of it but the label, which is for readers."""
    return digest({name: value for name, value in identity.items() if name != "label"})
