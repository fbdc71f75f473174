"""That the files of a submission are as `xaibench submit` writes them, byte for byte where they are JSON: nothing is in
them that is not read, such as further fields, one name twice, or metadata of Parquet."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from xaibench.errors import XaibenchError
from xaibench.files import json_text
from xaibench.publication.records import cell_content
from xaibench.publication.rows import file_schema, rows_folder
from xaibench.results.cells import Cell
from xaibench.results.manifest import RunManifest, safe_command
from xaibench.results.shard_files import open_shard
from xaibench.results.store import Store
from xaibench.results.validate import Problem

ROWS = 100_000_000  # of a submission
SOON = timedelta(days=1)  # how far clocks may differ
PACK = "pack it again by `xaibench submit`"


def check_size(store: Store) -> None:
    """Raises XaibenchError for more rows than any submission has: few bytes of Parquet may be very many."""
    rows = 0
    for path in store.shards():
        with suppress(pa.ArrowException, OSError):  # files that cannot be read are named later
            rows += pq.read_metadata(path).num_rows
    if rows > ROWS:
        raise XaibenchError(f"the submission has {rows} rows, more than the {ROWS} that one may have")


def form_problems(store: Store, cells: Mapping[str, Cell], runs: Mapping[str, RunManifest]) -> Iterator[Problem]:
    """Where files are otherwise than `xaibench submit` writes them; runs: by the name of the file."""
    yield from _run_problems(runs)
    latest = datetime.now(UTC) + SOON
    for key, cell in cells.items():
        yield from _written(store, f"cells/{key}.json", json_text(cell_content(cell)))
        if cell.registered and _time(cell.registered) > latest:
            yield Problem(f"cells/{key}.json", "time", "it is of the future")
    for name, run in runs.items():
        yield from _written(store, f"runs/{name}.json", json_text(dataclasses.asdict(run)))
    named = {run.images.get("list") for run in runs.values()}
    for path in sorted((store.root / "lists").glob("*.json")):
        if path.stem not in named:
            yield Problem(f"lists/{path.name}", "list", f"no run has this list of images; {PACK}")
        yield from _written(store, f"lists/{path.name}", json_text(store.load_list(path.stem)))
    for path in store.shards():
        yield from _shard_problems(path, path.relative_to(store.root).as_posix(), cells[path.stem])


def _run_problems(runs: Mapping[str, RunManifest]) -> Iterator[Problem]:
    latest = datetime.now(UTC) + SOON
    for name, run in runs.items():
        text = ""
        if run.run != name:
            text = "it is the record of another run than its name says"
        elif run.status != "complete" or not run.cells:
            text = f"it is not complete, or has no results; {PACK}"
        elif any(time and _time(time) > latest for time in (run.started, run.finished)):
            text = "it is of the future"
        elif any(safe_command(words).startswith("#") for words in (run.command, run.whole or run.command)):
            text = "its command is none of xaibench"
        if text:
            yield Problem(f"runs/{name}.json", "run", text)


def _shard_problems(path: Path, name: str, cell: Cell) -> Iterator[Problem]:
    if not name.startswith(f"{rows_folder(cell.context)}/"):
        yield Problem(name, "row", f"by its key its place is in {rows_folder(cell.context)}; {PACK}")
    with open_shard(path)[0] as file:
        if not file.schema_arrow.equals(file_schema(), check_metadata=True):
            yield Problem(name, "schema", f"its columns or metadata are not those of `xaibench submit`; {PACK}")


def _written(store: Store, name: str, text: str) -> Iterator[Problem]:
    if (store.root / name).read_bytes() != text.encode():
        yield Problem(name, "text", f"it is written otherwise than xaibench writes it; {PACK}")


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
