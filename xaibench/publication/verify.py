"""The last look at a folder before it is published: nothing private in any text, name or header of any file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import safe_open

from xaibench.errors import XaibenchError
from xaibench.publication.scrub import Scrubber
from xaibench.results.shard_files import BATCH

TEXTS = frozenset({".json", ".csv", ".md", ".svg"})


def verify(root: Path, scrubber: Scrubber) -> None:
    """Raises XaibenchError, which names the file, where anything private is left in a folder."""
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name = path.relative_to(root).as_posix()
        for text in (name, *_texts(path)):
            for found in scrubber.leaks(text):
                raise XaibenchError(
                    f"{name} would hold {found!r}, a path or a name of yours, so nothing is published; say "
                    "--allow-name NAME if that name may be, or else report this as a defect of xaibench"
                )


def _texts(path: Path) -> Iterator[str]:
    """The texts of a file: all of a text, the columns and metadata of Parquet, the header of maps. Photos are pixels
    that were written anew, without any text."""
    if path.suffix in TEXTS:
        yield path.read_text("utf-8")
    elif path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            for name, value in (file.schema_arrow.metadata or {}).items():
                yield f"{name.decode()} {value.decode(errors='replace')}"
            texts = [field.name for field in file.schema_arrow if pa.types.is_string(field.type)]
            seen: set[str] = set()  # many rows have few texts, which are looked at once
            for batch in file.iter_batches(BATCH, columns=texts):
                found = [text for column in batch.columns for text in column.drop_null().unique().to_pylist()]
                fresh = [text for text in dict.fromkeys(found) if text not in seen]
                seen.update(fresh)
                yield "\n".join(fresh)
    elif path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            yield "\n".join([*file.keys(), *(file.metadata() or {}).values()])
