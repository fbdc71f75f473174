"""Brings the rows of a results folder to the schema of today: the same rows, in the same files."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from xaibench.errors import XaibenchError
from xaibench.files import write_atomic
from xaibench.results.current import write_current
from xaibench.results.schema import SCHEMA, SCHEMA_VERSION
from xaibench.results.shard_files import open_shard, reading, shard_batches
from xaibench.results.store import Store

INDEX = "board.json"  # of a folder that `xaibench publish` wrote


@dataclass(frozen=True)
class Outdated:
    """A file of rows of an earlier schema: where it is, its schema version, and how many rows it has."""

    path: Path
    version: int
    rows: int


def outdated(root: str | Path) -> list[Outdated]:
    """The files of a results folder whose rows have an earlier schema, oldest first; nothing is changed.

    Raises XaibenchError where there is no results folder, for a board folder, whose files stay as they were published,
    and where a file cannot be read or is of a newer xaibench.
    """
    store = Store.open(root)
    if (store.root / INDEX).is_file():
        raise XaibenchError(
            f"{root} is a board folder, whose files stay as they were published, and can be read; "
            f"`xaibench publish RESULTS --to {root}` adds a version in today's format"
        )
    found = []
    for path in store.shards():
        with reading(path, store.root):
            file, version = open_shard(path)
            with file:
                if version < SCHEMA_VERSION:
                    found.append(Outdated(path, version, file.metadata.num_rows))
    return found


def upgrade_folder(root: str | Path) -> list[Outdated]:
    """Writes each file of `outdated` anew in the schema of today, and `current.parquet`; returns those files.

    Keys and scores stay; columns that were not recorded are null. Each file is replaced as a whole, so the folder can
    be read and written by others meanwhile, and an interrupted upgrade goes on where it stopped. Raises XaibenchError
    as `outdated`, before anything is changed, and where nothing can be written.
    """
    store, found = Store.open(root), outdated(root)
    for item in found:
        with reading(item.path, store.root):
            table = pa.Table.from_batches(shard_batches(item.path), SCHEMA)
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        write_atomic(item.path, buffer.getvalue())
    if found:
        write_current(store)
    return found
