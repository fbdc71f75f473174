"""Forged rows and Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from forging import EVIL, Forge, relisting


def rows(folder: Path) -> Iterator[tuple[str, str, Forge]]:
    """Rows that no run writes."""
    first: dict[str, tuple[str, Any]] = {
        "score above the range": ("score", 1.5), "score below the range": ("score", -1.5),
        "infinite score": ("score", float("inf")), "no number": ("score", float("nan")), "no score": ("score", None),
        "status": ("status", "excellent"), "undefined with a score": ("status", "undefined-map"),
        "unit": ("unit", "world"), "metric": ("metric", "rank"), "target": ("target", -1),
        "prediction below 0": ("prediction", -1), "another prediction": ("prediction", 3),
        "another label": ("label", 3),
        "digest": ("image_digest", "other"), "image": ("image_id", "test/999999"), "cell": ("cell", "0" * 16),
        "protocol": ("protocol", "sds"), "dataset": ("dataset", "imagenet"), "model": ("model", "vgg16"),
        "method": ("method", "ixg2"),
    }  # fmt: skip
    for method in ("mine", "ixg"):
        for name, (column, value) in first.items():
            yield (
                "forged rows",
                f"{method}: {name}",
                relisting(lambda f, m=method, c=column, v=value: f.column(m, c, lambda values: [v, *values[1:]])),
            )
        for text in EVIL:
            for column in ("image_id", "metric", "method", "image_digest"):
                yield (
                    "names with scripts and escapes",
                    f"{method}: {column} {text!a}",
                    relisting(lambda f, m=method, c=column, t=text: f.column(m, c, lambda values: [t, *values[1:]])),
                )
        shapes: dict[str, Callable[[pa.Table], pa.Table]] = {
            "one image less": lambda t: t.slice(1), "no image": lambda t: t.slice(0, 0),
            "an image twice": lambda t: pa.concat_tables([t, t.slice(0, 1)]),
            "a column less": lambda t: t.drop_columns(["label"]),
            "a column more": lambda t: t.append_column("rank", pa.array([1] * t.num_rows)),
            "columns in another order": lambda t: t.select(t.column_names[::-1]),
            "another type": lambda t: t.set_column(6, "score", t["score"].cast(pa.string())),
            "no version": lambda t: t.replace_schema_metadata(None),
            "a newer version": lambda t: t.replace_schema_metadata({b"xaibench.schema": b"99"}),
            "an odd version": lambda t: t.replace_schema_metadata({b"xaibench.schema": b"\x1b[2J"}),
            "a huge text": lambda t: t.set_column(
                1, t.schema.field(1), pa.array(["x" * (3 << 20), *t["image_id"].to_pylist()[1:]])
            ),
        }  # fmt: skip
        for name, change in shapes.items():
            yield "wrong or huge Parquet", f"{method}: {name}", relisting(lambda f, m=method, c=change: f.table(m, c))
        for share in range(1, 10):
            yield (
                "wrong or huge Parquet",
                f"{method}: cut at {share / 10:.0%}",
                relisting(lambda f, m=method, s=share: _cut(f.rows(m), s / 10)),
            )
    other = lambda f: f.rows("mine").write_bytes(f.rows("ixg").read_bytes())  # noqa: E731
    yield "other people's keys", "the rows of ixg under the name of mine", relisting(other)
    yield (
        "other people's keys",
        "rows of ixg among mine",
        relisting(lambda f: f.table("mine", lambda t: pa.concat_tables([t, pq.read_table(f.rows("ixg"))]))),
    )


def _cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
