"""Opens a Parquet file of rows, which may come from others; tells damage from a failure to read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from xaibench.errors import XaibenchError, one_line
from xaibench.files import check_regular
from xaibench.results.schema import check_schema, upgrade

ROWS = 4_000_000  # of a shard; xaibench writes one at least every 15 seconds
ROW_BYTES = 2048  # of a row in memory, on average over a batch; usual are 300
EXHAUSTED = ("alloc", "memory", "thread", "temporarily unavailable", "too many open files")
SHARD_BYTES = 1 << 30  # of texts in memory
UNFOLDED = 1 << 28  # bytes of a shard that need no look at its dictionaries
BATCH = 1 << 16  # rows that are read together


def open_shard(path: Path) -> tuple[pq.ParquetFile, int]:
    """A shard and the version of its schema.

    Raises XaibenchError for what is no regular file, an alien file and one with more than ROWS rows, and
    pa.ArrowException or OSError where it cannot be read.
    """
    check_regular(path)
    file = pq.ParquetFile(path)
    if file.metadata.num_rows > ROWS:
        raise XaibenchError(
            f"{path} has {file.metadata.num_rows} rows, more than the {ROWS} of any shard; move it away"
        )
    version = check_schema(file.schema_arrow, str(path))
    _check_unfolded(path, file)
    return file, version


def shard_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a shard in the schema of today, batch by batch, each checked; raises as `open_shard`."""
    file, version = open_shard(path)
    with file:
        for batch in file.iter_batches(BATCH):
            yield from upgrade(pa.Table.from_batches([check_batch(batch)]), version).to_batches()


def check_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch; raises XaibenchError where its rows are far larger in memory than rows can be, and pa.ArrowInvalid for
    texts that are not UTF-8."""
    size = sum(map(_unfolded, batch.columns))
    if size > ROW_BYTES * batch.num_rows + (1 << 20):
        size //= max(batch.num_rows, 1)
        raise XaibenchError(f"a file of rows has {size} bytes in a row; `xaibench validate` names it, move it away")
    batch.validate(full=True)
    return batch


def _check_unfolded(path: Path, file: pq.ParquetFile) -> None:
    """Raises XaibenchError where rows would be far larger in memory than rows can be: a dictionary may hold one text of
    gigabytes for all of them. It is told without unfolding dictionaries."""
    metadata, schema = file.metadata, file.metadata.schema
    texts = [n for n in range(metadata.num_columns) if schema.column(n).physical_type == "BYTE_ARRAY"]
    groups = [metadata.row_group(n) for n in range(metadata.num_row_groups)]
    longest = sum(group.column(n).total_uncompressed_size for group in groups for n in texts)
    if longest * metadata.num_rows <= UNFOLDED:  # were each text as long as all of them together
        return
    size = 0
    names = [schema.column(n).path for n in texts]
    with pq.ParquetFile(path, read_dictionary=names) as folded:
        for batch in folded.iter_batches(BATCH, columns=names):
            size += sum(map(_unfolded, check_batch(batch).columns))
            if size > SHARD_BYTES:
                raise XaibenchError(f"{path} has more than {SHARD_BYTES >> 20} MiB of texts; move it away")


def _unfolded(column: pa.Array) -> int:
    """The bytes of a column in memory, those of a dictionary once for each row that has them."""
    if not isinstance(column, pa.DictionaryArray):
        return column.nbytes
    lengths = pc.binary_length(column.dictionary)
    return pc.sum(pc.take(lengths, column.indices).cast(pa.int64())).as_py() or 0


@contextmanager
def reading(path: Path, root: Path) -> Iterator[None]:
    """While the block reads a shard, a failure is one line: damage, or what prevented the reading.

    Raises XaibenchError, and MemoryError as it is.
    """
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, MemoryError):
            raise
        raise failed(error, path, root) from error


def is_damage(error: Exception) -> bool:
    """Whether a failed read says that the content is damaged: it does not where the system refused (permission, disk,
    network), or where memory or threads ran out, which Arrow reports by errors of several types."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) is not None:
        return False
    return isinstance(error, (pa.ArrowInvalid, OSError)) and not any(word in str(error).lower() for word in EXHAUSTED)


def failed(error: Exception, path: Path, root: Path) -> XaibenchError:
    """The line for the user about a shard that could not be read."""
    if is_damage(error):
        return XaibenchError(
            f"{path} is not a whole Parquet file; `xaibench validate {root}` lists all such files, "
            "and after removing them the same run command computes their rows again"
        )
    reason = getattr(error, "strerror", None) or one_line(error)
    return XaibenchError(
        f"{path} cannot be read now: {reason}; its rows may be sound, so keep it, and try again when that is mended"
    )
