"""Rows of a board folder: one Parquet file per result, in plain folders, and a table that says what each result is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from xaibench.analysis.leaderboard import Leaderboard
from xaibench.errors import XaibenchError
from xaibench.files import file_name, plain, writing_atomic
from xaibench.publication.collect import Taken
from xaibench.results.cells import Cell, part_name
from xaibench.results.schema import MEANINGS, SCHEMA, row_table
from xaibench.results.shard_files import ROWS

CELLS, SCORES = "cells.parquet", "scores.parquet"
GROUP = 1 << 17  # rows of a part of a file that is read together
DESCRIPTION = b"description"  # of a column, in the metadata of its field
SORTED_BY = ("image_id", "metric", "target", "unit")
CELL_COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "cell": (pa.string(), "key of the result; joins this table with the rows"),
    "board": (pa.string(), "key of the board: methods with the same one may be compared"),
    "protocol": (pa.string(), "name of the protocol"),
    "protocol_version": (pa.int32(), "version of its card"),
    "protocol_settings": (pa.string(), "its settings, as JSON"),
    "metric": (pa.string(), "the metric of the board; rows may have further ones"),
    "higher_is_better": (pa.bool_(), "whether a higher score is better; null where neither end is"),
    "undefined_cost": (pa.float64(), "the score at which an undefined map enters the mean"),
    "dataset": (pa.string(), "name of the data set"),
    "dataset_settings": (pa.string(), "its settings and sizes, as JSON"),
    "model": (pa.string(), "name of the model"),
    "weights": (pa.string(), "kind of its weights"),
    "weights_digest": (pa.string(), "hash of its weights"),
    "reference_model": (pa.string(), "name of the second model, where a protocol compares two"),
    "method": (pa.string(), "name of the method as on the board; null for a protocol without methods"),
    "kind": (pa.string(), "method, variant, control or oracle; the last two are not ranked"),
    "method_version": (pa.int32(), "version of its card"),
    "parameters": (pa.string(), "its parameters, as JSON"),
    "profile": (pa.string(), "how much computation the run used"),
    "seed": (pa.int64(), "the seed"),
    "precision": (pa.string(), "the precision of the passes"),
    "n_images": (pa.int64(), "length of the image list"),
    "n_rows": (pa.int64(), "number of rows"),
    "title": (pa.string(), "all of this in a line"),
    "rows": (pa.string(), "the file of its rows"),
}

SCORE_COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "protocol": (pa.string(), "name of the protocol"),
    "model": (pa.string(), "name of the model"),
    "dataset": (pa.string(), "name of the data set"),
    "method": (pa.string(), "name of the method as on the board"),
    "kind": (pa.string(), "method, variant, control or oracle; the last two are not ranked"),
    "image_id": (pa.string(), "the image"),
    "metric": (pa.string(), "name of the score"),
    "score": (pa.float64(), "the image's score as it enters the board's mean: the mean of its rows, an undefined map "
              "at the protocol's cost; an image whose reference is undefined is left out"),
    "board": (pa.string(), "key of the board: methods with the same one may be compared"),
}  # fmt: skip


def rows_folder(context: Mapping[str, Any]) -> str:
    """The folder of the rows of a board: `rows/<protocol>/<model>`."""
    names = [part_name(context, part) or "none" for part in ("protocol", "model")]
    return "/".join(["rows", *map(file_name, names)])


def write_rows(taken: Taken, rows: pd.DataFrame, root: Path) -> dict[str, int]:
    """Writes the rows of a board, a file per result, sorted, with the meanings of their columns as metadata; how many
    each result has. rows: those of the board's results; of other images than the list's none is written.

    Raises XaibenchError for a result with more rows than a file of rows may have.
    """
    rows = rows[rows["image_id"].isin(set(taken.images))]
    counts = {}
    for key in (cell.key for cell in taken.board.cells):
        own = rows[rows["cell"] == key]
        if len(own) > ROWS:
            raise XaibenchError(f"cell {key} has {len(own)} rows, more than the {ROWS} of a file; use fewer images")
        # The sort is stable: instances of one class in an image keep the order that they are stored in.
        own = own.sort_values(list(SORTED_BY), kind="stable", na_position="first")
        table = row_table({name: own[name] for name in SCHEMA.names}) if len(own) else SCHEMA.empty_table()
        described = _described_schema()
        path = root / rows_folder(taken.board.context) / f"{key}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        _write([table.cast(described)], described, path)
        counts[key] = len(own)
    return counts


def file_schema() -> pa.Schema:
    """Of the files of rows, with all metadata."""
    return _with_descriptions(_described_schema())


def write_cells(taken: Iterable[Taken], counts: Mapping[str, int], root: Path) -> None:
    """Writes `cells.parquet`: a line for each result, in plain columns."""
    lines = [_line(cell, one, counts[cell.key]) for one in taken for cell in one.board.cells]
    lines.sort(key=lambda line: (line["rows"], line["cell"]))
    schema = pa.schema([_described(pa.field(name, kind), text) for name, (kind, text) in CELL_COLUMNS.items()])
    _write([pa.Table.from_pylist(lines, schema)], schema, root / CELLS)


def write_scores(boards: Iterable[Leaderboard], root: Path) -> None:
    """Writes `scores.parquet`: a line for each image and method of each board, whose plain means are the boards'."""
    schema = pa.schema([_described(pa.field(name, kind), text) for name, (kind, text) in SCORE_COLUMNS.items()])
    _write((table for board in boards for table in _scores(board, schema)), schema, root / SCORES)


def _scores(board: Leaderboard, schema: pa.Schema) -> Iterator[pa.Table]:
    """The lines of `scores.parquet` of each method of a board."""
    names = {part: part_name(board.context, part) or None for part in ("protocol", "model", "dataset")}
    kinds = dict(zip(board.table["method"], board.table["kind"], strict=True))
    scores = board.image_scores().sort_index()
    for method in sorted(scores.columns):
        found = scores[method].dropna()
        same = names | {"board": board.board, "metric": board.metric, "method": method, "kind": kinds[method]}
        columns = {name: pa.repeat(pa.scalar(text, pa.string()), len(found)) for name, text in same.items()}
        columns |= {"image_id": pa.array(found.index, pa.string()), "score": pa.array(found.to_numpy())}
        yield pa.table({name: columns[name] for name in schema.names}, schema)


def texts_of_rows(rows: pd.DataFrame) -> Iterable[str]:
    """Every distinct text in the columns of rows."""
    for name in SCHEMA.names:
        if pa.types.is_string(SCHEMA.field(name).type):
            yield from rows[name].dropna().unique()


def _line(cell: Cell, taken: Taken, count: int) -> dict[str, Any]:
    context, method = cell.context, cell.method or {}
    part = {
        name: context.get(name) or {} for name in ("protocol", "dataset", "model", "weights", "reference", "profile")
    }
    protocol, weights = part["protocol"], part["weights"]
    return {
        "cell": cell.key, "board": cell.board,
        "protocol": protocol.get("name"), "protocol_version": protocol.get("version"),
        "protocol_settings": _json(protocol.get("settings") or {}), "metric": protocol.get("metric"),
        "higher_is_better": protocol.get("higher_is_better"), "undefined_cost": protocol.get("undefined_cost"),
        "dataset": part["dataset"].get("name"),
        "dataset_settings": _json({name: part["dataset"].get(name) for name in ("settings", "geometry", "masks")
                                   if part["dataset"].get(name)}),
        "model": part["model"].get("name"), "weights": weights.get("label") or weights.get("kind"),
        "weights_digest": weights.get("digest"), "reference_model": part["reference"].get("name"),
        "method": cell.method_name if cell.method else None, "kind": cell.kind if cell.method else None,
        "method_version": method.get("version"), "parameters": _json(method.get("parameters") or {}),
        "profile": part["profile"].get("name"), "seed": context.get("seed"), "precision": context.get("precision"),
        "n_images": len(taken.images), "n_rows": count, "title": cell.title,
        "rows": f"{rows_folder(context)}/{cell.key}.parquet",
    }  # fmt: skip


def _json(value: Any) -> str:
    return json.dumps(plain(value), sort_keys=True, ensure_ascii=False)


def _described_schema() -> pa.Schema:
    return pa.schema([_described(f, MEANINGS[f.name]) for f in SCHEMA], SCHEMA.metadata)


def _with_descriptions(schema: pa.Schema) -> pa.Schema:
    """The schema with its columns' descriptions in the metadata of the file too, where readers that know nothing of
    Arrow find them."""
    described = {f"description of {f.name}".encode(): f.metadata[DESCRIPTION] for f in schema}
    return schema.with_metadata((schema.metadata or {}) | described)


def _described(field: pa.Field, text: str) -> pa.Field:
    return field.with_metadata({DESCRIPTION: text.encode()})


def _write(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    """Writes tables as one with fixed settings, so that the same rows give the same bytes, however they come."""
    schema = _with_descriptions(schema)
    options = {"version": "2.6", "compression": "zstd", "compression_level": 3}
    with writing_atomic(path) as file, pq.ParquetWriter(file, schema, **options) as writer:
        for group in _groups(tables, schema):
            writer.write_table(group, row_group_size=GROUP)


def _groups(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of tables in parts of `GROUP`, the last one with what is left; one empty part where there is no row."""
    rest, given = schema.empty_table(), False
    for table in tables:
        rest = pa.concat_tables([rest, table.cast(schema)])
        while len(rest) >= GROUP:
            yield rest.slice(0, GROUP).combine_chunks()
            rest, given = rest.slice(GROUP), True
    if len(rest) or not given:
        yield rest.combine_chunks()
