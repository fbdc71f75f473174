"""Opens a Parquet file of rows, which may come from others; tells damage from a failure to read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from xaibench.errors import XaibenchError, one_line
from xaibench.files import check_regular
from xaibench.results.schema import check_schema

ROWS = 4_000_000  # of a shard; xaibench writes one at least every 15 seconds
ROW_BYTES = 2048  # of a row in memory, on average over a batch; usual are 300
EXHAUSTED = ("alloc", "memory", "thread", "temporarily unavailable", "too many open files")
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
    return file, check_schema(file.schema_arrow, str(path))


def check_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch; raises XaibenchError where its rows are far larger in memory than rows can be."""
    if batch.nbytes > ROW_BYTES * batch.num_rows + (1 << 20):
        size = batch.nbytes // max(batch.num_rows, 1)
        raise XaibenchError(f"a file of rows has {size} bytes in a row; `xaibench validate` names it, move it away")
    return batch


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
