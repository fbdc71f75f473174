"""The one schema of stored rows, its version, and the way from older versions to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from xaibench.errors import XaibenchError

SCHEMA_VERSION = 2
VERSION_KEY = b"xaibench.schema"
STATUSES = ("ok", "undefined-map", "undefined-reference")
UNITS = ("image", "class", "instance")

# The row's identity; several instances of one class in an image share it and lie in the same shard.
IDENTITY = ("cell", "image_id", "target", "unit", "metric")

SCHEMA = pa.schema(
    [
        pa.field("cell", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("image_digest", pa.string(), nullable=False),
        pa.field("target", pa.int32()),
        pa.field("unit", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("score", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("prediction", pa.int32()),
        pa.field("label", pa.int32()),
        pa.field("correct", pa.bool_()),
        pa.field("protocol", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("reference_model", pa.string()),
        pa.field("method", pa.string()),
    ],
    metadata={VERSION_KEY: str(SCHEMA_VERSION).encode()},
)

# The meaning of each column, for the reference.
MEANINGS = {
    "cell": "key of the cell: everything that can change a number, except which image",
    "image_id": "POSIX path relative to the data root, or the name of a drawn image",
    "image_digest": "hash of the image's source, by which a replaced photo is detected",
    "target": "class index that is explained",
    "unit": "what is scored: an image, a class in it, or an instance",
    "metric": "name of the score, such as `spearman`",
    "score": "the score; null where undefined",
    "status": "`ok`, or why the score is undefined: `undefined-map` or `undefined-reference`",
    "prediction": "class index that the model predicts; null where its logits are not finite",
    "label": "class index of the image's own class; null in rows stored before it was recorded (schema 1)",
    "correct": "whether the explained class, where that is a predicted one, or else `prediction`, is among the labels "
    "of the image; null where nothing is predicted, where the model's classes are not the data's, and in rows of "
    "schema 1",
    "protocol": "name of the protocol, for readers; the key is `cell`",
    "dataset": "name of the data set",
    "model": "name of the model",
    "reference_model": "name of the second model, where a protocol compares two",
    "method": "name of the method; null for a protocol without methods",
}


def _without_answers(table: pa.Table) -> pa.Table:
    """Version 1 recorded neither the image's own class nor whether the model is correct: both are null."""
    for name in ("label", "correct"):
        table = table.append_column(SCHEMA.field(name), pa.nulls(table.num_rows, SCHEMA.field(name).type))
    return table


# {version: function from a table of that version to one of the next}; each new version adds an entry.
UPGRADES: dict[int, Callable[[pa.Table], pa.Table]] = {1: _without_answers}


def row_table(rows: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> pa.Table:
    """Rows, checked, as a table of `SCHEMA`.

    Args:
        rows: a list of dicts, or a dict of equally long columns (lists or NumPy arrays), in which a scalar stands for
            every row. Columns that may be null may be left out. NaN in `score` means null.

    Raises ValueError naming the column and the first bad row when a column is missing or unknown, a value has another
    type, a status or unit is unknown, a score is infinite, a score is null although the status is ok (or the
    reverse), or two rows have the same identity (`IDENTITY`; except instances).
    """
    columns = dict(rows) if isinstance(rows, Mapping) else _columns(rows)
    unknown = sorted(set(columns) - set(SCHEMA.names))
    missing = [field.name for field in SCHEMA if field.name not in columns and not field.nullable]
    if unknown or missing:
        raise ValueError(f"rows have unknown columns {unknown} and lack {missing}")
    lengths = {len(column) for column in columns.values() if not _is_scalar(column)}
    if len(lengths) > 1:
        raise ValueError(f"columns of different lengths: {sorted(lengths)}")
    count = lengths.pop() if lengths else 1
    arrays = [_array(field, columns.get(field.name), count) for field in SCHEMA]
    table = pa.Table.from_arrays(arrays, schema=SCHEMA)
    for text, bad in faults(table):
        if pc.any(bad).as_py():
            raise ValueError(f"{text} (row {pc.index(bad, True).as_py()})")
    _refuse_copies(table)
    return table


def faults(table: pa.Table) -> list[tuple[str, pa.ChunkedArray]]:
    """The rules of single rows: for each, its text and a boolean column that is true where it is broken."""
    score, status = table["score"], table["status"]
    ok = pc.equal(status, "ok")
    infinite = pc.fill_null(pc.invert(pc.is_finite(score)), False)
    return [
        (f"status is none of {', '.join(STATUSES)}", pc.invert(pc.is_in(status, pa.array(STATUSES)))),
        (f"unit is none of {', '.join(UNITS)}", pc.invert(pc.is_in(table["unit"], pa.array(UNITS)))),
        ("score is null although the status is ok", pc.and_(ok, pc.is_null(score))),
        ("score is given although the status is undefined", pc.and_(pc.invert(ok), pc.is_valid(score))),
        ("score is not finite", infinite),
        *((f"{name} is below 0", pc.fill_null(pc.less(table[name], 0), False)) for name in ("target", "prediction")),
    ]


def check_schema(schema: pa.Schema, name: str) -> int:
    """The version of a shard that this xaibench can read.

    Args:
        schema: the Arrow schema of the file with its metadata.
        name: the file, for the message.

    Raises XaibenchError naming file and versions for an alien file and for versions from which no upgrade leads here.
    """
    text = (schema.metadata or {}).get(VERSION_KEY, b"").decode(errors="replace")
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise XaibenchError(f"{name} was not written by xaibench; move it away (`xaibench validate` lists such files)")
    version = int(text)
    if version > SCHEMA_VERSION:
        raise XaibenchError(
            f"{name} has row schema {version}, newer than {SCHEMA_VERSION} of this xaibench; "
            "update xaibench, or choose another folder with --out"
        )
    if any(step not in UPGRADES for step in range(version, SCHEMA_VERSION)):
        raise XaibenchError(
            f"{name} has row schema {version}, which this xaibench (schema {SCHEMA_VERSION}) cannot upgrade; "
            "choose another folder with --out"
        )
    if not _fits(schema, version):
        raise XaibenchError(f"{name} has other columns than row schema {version}; `xaibench validate` lists such files")
    return version


def upgrade(table: pa.Table, version: int) -> pa.Table:
    """A table of an older `version` (see `check_schema`) as one of `SCHEMA`, step by step through `UPGRADES`."""
    for step in range(version, SCHEMA_VERSION):
        table = UPGRADES[step](table)
    return table.select(SCHEMA.names).cast(SCHEMA)


def _fits(schema: pa.Schema, version: int) -> bool:
    """Whether columns are those of a version: those of today, or what becomes them step by step."""
    if version == SCHEMA_VERSION:
        return schema.equals(SCHEMA, check_metadata=False)
    try:
        upgrade(schema.empty_table(), version)
    except (KeyError, pa.ArrowException):
        return False
    return True


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    if not rows:
        names = dict.fromkeys(SCHEMA.names)
    return {name: [row.get(name) for row in rows] for name in names}


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float)) or getattr(value, "ndim", None) == 0


def _array(field: pa.Field, values: Any, count: int) -> pa.Array:
    if _is_scalar(values):
        values = [values] * count
    try:
        # from_pandas turns NaN into null, which is what an undefined score in a NumPy column is.
        array = pa.array(values, type=field.type, from_pandas=field.name == "score")
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        raise ValueError(f"column {field.name} does not hold {field.type}: {error}") from error
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if array.null_count and not field.nullable:
        raise ValueError(f"column {field.name} may not be null (row {pc.index(array.is_null(), True).as_py()})")
    return array


def _refuse_copies(table: pa.Table) -> None:
    single = table.filter(pc.not_equal(table["unit"], "instance"))
    counts = single.group_by(list(IDENTITY)).aggregate([([], "count_all")])
    copies = counts.filter(pc.greater(counts["count_all"], 1))
    if copies.num_rows:
        raise ValueError(f"two rows with the same identity: {copies.select(list(IDENTITY)).slice(0, 1).to_pylist()[0]}")
