"""Forgeries of a submission, by kind: each changes a copy of its folder, or writes a ZIP file of it.

`structural(folder, packed)` yields (kind, name, forge): `forge(root, relist)` gives the path that is handed in. relist
lists the sums anew, as a forger who knows the format would; where it is not called, the sums betray the change.
"""

from __future__ import annotations

import json
import os
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xaibench.results.cells import Cell

Forge = Callable[[Path, Callable[[Path], None]], Path]
EVIL = (
    "\x1b[2J",
    "<script>alert(1)</script>",
    "\u202egnp.exe",
    "a\rb",
    "x\x00y",
    "\x9b31m",
    "`id`",
    "\ue000",
    "\u2028",
)
OUTSIDE = (
    "../out.json", "../../out.json", "/tmp/out.json", "//host/out.json", "rows/../../out.json", "cells/../../x.json",
    "C:\\out.json", "..\\out.json", "rows\\a\\b.parquet", "./cells/0123456789abcdef.json",
    "cells//0123456789abcdef.json",
    "source/../../out.py", "source/../sitecustomize.py", "~/out.py", "file:///tmp/out.json",
)  # fmt: skip
ALIEN = (
    "leaderboard.csv", "boards/idsds.csv", "boards/idsds.json", "board.json", "README.md", "SHA256SUMS",
    "scores.parquet",
    "cells.parquet", "current.parquet", "figures/idsds.svg", "maps/0123456789abcdef/a.safetensors", "replays/x.json",
    "locks/x", ".git/config", ".gitattributes", "sitecustomize.py", "source/x.pth", "source/.hidden.py", "source/x.so",
    "source/a/b.py", "source/methods/x.sh", "source/x.pyc", "source/__pycache__/x.pyc", "cells/x.json",
    "cells/0123456789ABCDEF.json", "rows/0123456789abcdef.parquet", "rows/a/b/c.parquet",
    "rows/.a/b/0123456789abcdef.parquet",
    "lists/0123456789abcdef.json.gz", "runs/a b.json", "runs/<b>.json", "source/\x1b[2J.py", "cells/\u202e.json",
    "source/<script>.py", "cells/0123456789abcdef.json\n", "index.html", "x" * 300 + ".json",
)  # fmt: skip


def zipped(root: Path, edit: Callable[[zipfile.ZipFile], None] = lambda archive: None, **options: Any) -> Path:
    """The folder as a ZIP file, with what `edit` adds."""
    target = root.with_suffix(".zip")
    with zipfile.ZipFile(target, "w", **({"compression": zipfile.ZIP_DEFLATED} | options)) as archive:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(root).as_posix())
        edit(archive)
    return target


def _named(name: str) -> Forge:
    return lambda root, relist: zipped(root, lambda archive: archive.writestr(name, "{}"))


def _entry(name: str, mode: int, data: bytes = b"/etc/passwd") -> Forge:
    entry = zipfile.ZipInfo(name)
    entry.external_attr, entry.create_system = mode << 16, 3
    entry.compress_type = zipfile.ZIP_DEFLATED  # else a bomb is as large as what it unpacks to
    return lambda root, relist: zipped(root, lambda archive: archive.writestr(entry, data))


def _bytes(change: Callable[[bytes], bytes], **options: Any) -> Forge:
    def forge(root: Path, relist: Callable[[Path], None]) -> Path:
        path = zipped(root, **options)
        path.write_bytes(change(path.read_bytes()))
        return path

    return forge


def _overlapping(data: bytes) -> bytes:
    """Each entry of the directory stands for the first file's data."""
    at, first = data.index(b"PK\x01\x02"), True
    out = bytearray(data)
    while at >= 0:
        if not first:
            out[at + 42 : at + 46] = struct.pack("<I", 0)
        first, at = False, data.find(b"PK\x01\x02", at + 4)
    return bytes(out)


def _flag(place: int, value: bytes) -> Callable[[bytes], bytes]:
    """Changes a field of the first entry of the directory."""

    def change(data: bytes) -> bytes:
        at = data.index(b"PK\x01\x02") + place
        return data[:at] + value + data[at + len(value) :]

    return change


def archives(folder: Path) -> Iterator[tuple[str, str, Forge]]:
    """What is wrong as an archive."""
    key = next(folder.glob("cells/*.json")).stem
    for name in OUTSIDE:
        yield "path traversal", ascii(name), _named(name)
    for name in ALIEN:
        yield "files that no submission has", ascii(name)[:60], _named(name)
    for name in ("source/link.py", "cells/0123456789abcdef.json", "../link", "lists/0123456789abcdef.json"):
        for mode in (stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o644, stat.S_IFCHR | 0o644, stat.S_IFDIR | 0o755):
            yield "links and devices (ZIP)", f"{name} {mode:o}", _entry(name, mode)
    for name in ("source/a.py", "cells/0123456789abcdef.json", "rows/a/b/0123456789abcdef.parquet"):
        for size in (2 << 20, 8 << 20):
            yield "ZIP bombs", f"{name} of {size >> 20} MiB", _entry(name, stat.S_IFREG | 0o644, bytes(size))
    yield "ZIP bombs", "files that overlap", _bytes(_overlapping)
    for size in (0, 1, 10**6, 2**32 - 1):
        yield "ZIP bombs", f"states {size} bytes", _bytes(_flag(24, struct.pack("<I", size)))
    for name in ("submission.json", f"cells/{key}.json", f"cells/{key}.json".upper().replace(".JSON", ".json")):
        yield "names twice", name, _named(name)
    yield "packed otherwise", "bzip2", lambda root, relist: zipped(root, compression=zipfile.ZIP_BZIP2)
    yield "packed otherwise", "lzma", lambda root, relist: zipped(root, compression=zipfile.ZIP_LZMA)
    yield "packed otherwise", "encrypted", _bytes(_flag(8, b"\x01\x00"))
    yield "packed otherwise", "something before", _bytes(lambda data: b"#!/bin/sh\nid\n" + data)
    yield "packed otherwise", "another kind", _bytes(lambda data: b"\x1f\x8b" + data)
    yield "packed otherwise", "empty", _bytes(lambda data: b"")
    yield "packed otherwise", "a comment", lambda root, relist: zipped(root, lambda a: setattr(a, "comment", b"<b>"))
    for share in range(1, 20):
        yield "cut off", f"{share / 20:.0%}", _bytes(lambda data, s=share: data[: len(data) * s // 20])
    for share in range(1, 20):  # in the data of a file, or the directory's sums
        yield (
            "damaged",
            f"{share / 20:.0%}",
            _bytes(
                lambda data, s=share: _flipped(data, (data.index(b"PK\x01\x02") - 40) * s // 20 + 40),
                compression=zipfile.ZIP_STORED,
            ),
        )


def _flipped(data: bytes, place: int) -> bytes:
    """With 60 bytes inverted, which is longer than any header between two files."""
    return data[:place] + bytes(255 - byte for byte in data[place : place + 60]) + data[place + 60 :]


def folders(folder: Path) -> Iterator[tuple[str, str, Forge]]:
    """What is wrong as a folder."""

    def linked(name: str, to: str) -> Forge:
        def forge(root: Path, relist: Callable[[Path], None]) -> Path:
            (root / name).unlink(missing_ok=True)
            (root / name).symlink_to(to)
            return root

        return forge

    def moved(name: str) -> Forge:
        def forge(root: Path, relist: Callable[[Path], None]) -> Path:
            (root / name).rename(root.parent / "elsewhere")
            (root / name).symlink_to(root.parent / "elsewhere")
            return root

        return forge

    def pipe(root: Path, relist: Callable[[Path], None]) -> Path:
        os.mkfifo(root / "source" / "pipe.py")
        return root

    for name in ("source/more.py", "submission.json", "cells/0123456789abcdef.json"):
        for to in ("/etc/passwd", "../../outside", "/dev/zero", "plugin_mine.py", "nowhere"):
            yield "links and devices (folder)", f"{name} to {to}", linked(name, to)
    for name in ("cells", "rows", "source", "lists", "runs"):
        yield "links and devices (folder)", f"{name} elsewhere", moved(name)
    yield "links and devices (folder)", "a pipe", pipe


def listed(folder: Path) -> Iterator[tuple[str, str, Forge]]:
    """What is wrong in `submission.json`, and against it."""
    content = json.loads((folder / "submission.json").read_text())

    def with_manifest(change: Callable[[dict], Any]) -> Forge:
        def forge(root: Path, relist: Callable[[Path], None]) -> Path:
            value = json.loads(json.dumps(content))
            value = change(value) or value
            (root / "submission.json").write_text(value if isinstance(value, str) else json.dumps(value))
            return root

        return forge

    for field in content:
        yield "submission.json", f"without {field}", with_manifest(lambda value, f=field: value.pop(f) and None)
        for odd in (None, 7, [], {}, "\x1b[2J", True, ["../x"], {"../x": "0"}):
            yield "submission.json", f"{field} = {odd!r}", with_manifest(lambda v, f=field, o=odd: v | {f: o})
    for text in ("", "[]", "null", "{", "[" * 100_000, '{"format": NaN}', "{" * 50):
        yield "submission.json", text[:20], with_manifest(lambda value, t=text: t or " ")
    yield "submission.json", "more fields", with_manifest(lambda value: value | {"rank": 1})
    yield "submission.json", "a method of xaibench", with_manifest(lambda value: value | {"methods": ["ixg"]})
    yield "submission.json", "another method", with_manifest(lambda value: value | {"methods": ["theirs"]})
    yield "submission.json", "one method more", with_manifest(lambda value: value | {"methods": ["mine", "theirs"]})
    yield "submission.json", "a card elsewhere", with_manifest(lambda value: value | {"card": "source/../../x.py"})
    for name in content["files"]:

        def changed(root: Path, relist: Callable[[Path], None], name: str = name) -> Path:
            (root / name).write_bytes((root / name).read_bytes() + b" ")
            return root

        def removed(root: Path, relist: Callable[[Path], None], name: str = name) -> Path:
            (root / name).unlink()
            return root

        yield "files and their sums", f"{name} changed", changed
        yield "files and their sums", f"{name} removed", removed


class Forger:
    """Changes a submission's folder so that it stays consistent, as a forger who knows the format would."""

    def __init__(self, root: Path):
        self.root = root

    def cell(self, method: str) -> tuple[Path, dict]:
        """The file of a method's cell, and what it says."""
        for path in sorted(self.root.glob("cells/*.json")):
            value = json.loads(path.read_text())
            if value["method"]["name"] == method:
                return path, value
        raise KeyError(method)

    def rows(self, method: str) -> Path:
        """The file of a method's rows."""
        return next(self.root.glob(f"rows/*/*/{self.cell(method)[0].stem}.parquet"))

    def write(self, method: str, change: Callable[[dict], Any]) -> None:
        """A cell under its old key."""
        path, value = self.cell(method)
        change(value)
        path.write_text(json.dumps(value))

    def rekey(self, method: str, change: Callable[[dict], Any]) -> None:
        """A cell under the key of what it says then, in the rows and the records too."""
        (path, value), rows = self.cell(method), self.rows(method)
        old = path.stem
        change(value)
        cell = Cell(value["context"], value["method"])
        value["key"], value["board"] = cell.key, cell.board
        path.unlink()
        (self.root / "cells" / f"{cell.key}.json").write_text(json.dumps(value))
        table = pq.read_table(rows)
        rows.unlink()
        place = table.schema.get_field_index("cell")
        table = table.set_column(place, table.schema.field(place), [[cell.key] * table.num_rows])
        pq.write_table(table, rows.with_name(f"{cell.key}.parquet"))
        self.run(lambda run: run.update(cells=[cell.key if key == old else key for key in run["cells"]]))

    def run(self, change: Callable[[dict], Any]) -> None:
        """The record of the run."""
        path = next(self.root.glob("runs/*.json"))
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    def column(self, method: str, name: str, change: Callable[[list], list]) -> None:
        """One column of a method's rows."""
        path = self.rows(method)
        table = pq.read_table(path)
        place = table.schema.get_field_index(name)
        field = table.schema.field(place)
        values = pa.array(change(table[name].to_pylist()), field.type)
        pq.write_table(table.set_column(place, field, values), path)

    def table(self, method: str, change: Callable[[pa.Table], pa.Table]) -> None:
        """A method's rows."""
        path = self.rows(method)
        pq.write_table(change(pq.read_table(path)), path)


def relisting(change: Callable[[Forger], Any]) -> Forge:
    """A forgery whose sums are right."""

    def forge(root: Path, relist: Callable[[Path], None]) -> Path:
        change(Forger(root))
        relist(root)
        return root

    return forge


CONTEXTS: dict[str, Callable[[dict], Any]] = {
    "protocol version": lambda v: v["context"]["protocol"].update(version=99),
    "protocol code": lambda v: v["context"]["protocol"].update(source="abc"),
    "protocol range": lambda v: v["context"]["protocol"].update(range=[-100, 100]),
    "protocol range open": lambda v: v["context"]["protocol"].update(range=[None, None]),
    "protocol direction": lambda v: v["context"]["protocol"].update(higher_is_better=False),
    "protocol cost": lambda v: v["context"]["protocol"].update(undefined_cost=1.0),
    "protocol setting": lambda v: v["context"]["protocol"]["settings"].update(easy=True),
    "protocol name": lambda v: v["context"]["protocol"].update(name="mine"),
    "protocol further": lambda v: v["context"]["protocol"].update(further={"*": {"range": [None, None]}}),
    "data set version": lambda v: v["context"]["dataset"].update(version=99),
    "data set name": lambda v: v["context"]["dataset"].update(name="theirs"),
    "data set code": lambda v: v["context"]["dataset"].update(source="abc"),
    "data set setting": lambda v: v["context"]["dataset"]["settings"].update(easy=True),
    "data set count": lambda v: v["context"]["dataset"]["settings"].update(count=7),
    "geometry": lambda v: v["context"]["dataset"].update(geometry={"resize": 32, "crop": 32}),
    "geometry crop": lambda v: v["context"]["dataset"]["geometry"].update(crop=48),
    "model version": lambda v: v["context"]["model"].update(version=99),
    "model name": lambda v: v["context"]["model"].update(name="../x"),
    "model code": lambda v: v["context"]["model"].update(source="abc"),
}
METHODS: dict[str, Callable[[dict], Any]] = {
    "version": lambda v: v["method"].update(version=99),
    "code": lambda v: v["method"].update(source="abc"),
    "transform": lambda v: v["method"].update(transform="squared"),
    "name": lambda v: v["method"].update(name="theirs"),
    "role": lambda v: v["method"].update(kind="best"),
    "role control": lambda v: v["method"].update(kind="control", name="ig"),
    "parameter": lambda v: v["method"].update(parameters={"cheat": 1}, name="ixg"),
    "label": lambda v: v["method"].update(label="ixg", name="mine", source="x"),
}


def cells(folder: Path) -> Iterator[tuple[str, str, Forge]]:
    """Keys that are not of what they stand for, and keys of what no board has."""
    for method in ("mine", "ixg", "random"):
        for name, change in (CONTEXTS | METHODS).items():
            if name.startswith("role"):
                continue  # not hashed
            yield "forged keys", f"{method}: {name}", relisting(lambda f, m=method, c=change: f.write(m, c))
    for name, change in CONTEXTS.items():
        yield "what no board has", f"mine: {name}", relisting(lambda f, c=change: f.rekey("mine", c))
    for method in ("mine", "ixg"):
        for name, change in METHODS.items():
            if not (method == "ixg" and name == "label"):
                yield "what no board has", f"{method}: {name}", relisting(lambda f, m=method, c=change: f.rekey(m, c))
    for text in EVIL:
        for place in ("protocol", "dataset", "model"):
            yield (
                "names with scripts and escapes",
                f"label of {place} {text!a}",
                relisting(lambda f, t=text, p=place: f.write("mine", lambda v: v["context"][p].update(label=t))),
            )
        yield (
            "names with scripts and escapes",
            f"label of the method {text!a}",
            relisting(lambda f, t=text: f.write("mine", lambda v: v["method"].update(label=f"mine {t}"))),
        )
        yield (
            "names with scripts and escapes",
            f"name of the method {text!a}",
            relisting(lambda f, t=text: f.rekey("mine", lambda v: v["method"].update(name=t))),
        )
        yield (
            "names with scripts and escapes",
            f"class {text!a}",
            relisting(lambda f, t=text: f.run(lambda run: run.update(classes=[t]))),
        )
        if text not in ("`id`", "<script>alert(1)</script>"):
            yield (
                "names with scripts and escapes",
                f"warning {text!a}",
                relisting(lambda f, t=text: f.run(lambda run: run.update(warnings=[t]))),
            )


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


def records(folder: Path) -> Iterator[tuple[str, str, Forge]]:
    """Image lists, records of runs, and code."""
    from xaibench.hashing import digest

    images = json.loads(next(folder.glob("lists/*.json")).read_text())

    def other_list(ids: list[str]) -> Callable[[Forger], None]:
        def change(f: Forger) -> None:
            next(f.root.glob("lists/*.json")).unlink()
            (f.root / "lists" / f"{digest(ids)}.json").write_text(json.dumps(ids))
            f.run(lambda run: run.update(images={"list": digest(ids), "count": len(ids)}))
            for method in ("mine", "ixg", "random"):
                f.table(method, lambda t: t.slice(0, len(ids)))
                f.column(method, "image_id", lambda values: ids)
                f.column(method, "image_digest", lambda values: [f"d{image}" for image in ids])

        return change

    yield "other lists", "the easy images", relisting(other_list(images[2:]))
    yield "other lists", "another order", relisting(other_list(images[::-1]))
    yield "other lists", "others", relisting(other_list([f"test/9{n:05d}" for n in range(8)]))
    for text in EVIL:
        yield "names with scripts and escapes", f"list {text!a}", relisting(other_list([text, *images[1:]]))
    texts = ("[]", "{}", "null", '["a", "a"]', "[1]", json.dumps(images[::-1]), "[" * 9999)
    for text in texts:
        yield "other lists", text[:12], relisting(lambda f, t=text: next(f.root.glob("lists/*.json")).write_text(t))
    for name, fields in {
        "no list": {"images": {"list": None, "count": 8}}, "a list that is missing": {"images": {"list": "0" * 16,
        "count": 8}}, "another count": {"images": {"list": digest(images), "count": 9}}, "not complete":
        {"status": "partial"}, "failed": {"status": "failed"}, "no cells": {"cells": []}, "odd status":
        {"status": "perfect"}, "odd cells": {"cells": ["../../x"]}, "cells that are missing": {"cells": ["0" * 16]},
        "odd costs": {"costs": {"mine": {"seconds": -1}}}, "odd accuracy": {"cells": 3},
    }.items():  # fmt: skip
        yield "records of runs", name, relisting(lambda f, v=fields: f.run(lambda run: run.update(v)))

    def code(text: str) -> Callable[[Forger], None]:
        return lambda f: (f.root / "source" / "plugin_mine.py").write_text(text)

    mark = "import pathlib\npathlib.Path({mark!r}).write_text('run')\n"
    for name, text in {"other code": mark, "no Python": "\x00", "empty": "", "nested": "(" * 5000, "deep": "-" * 50_000
                       + "1"}.items():  # fmt: skip
        yield "other code", name, relisting(code(text))
    for name in ("more.py", "torch.py", "methods/more.toml"):

        def more(f: Forger, name: str = name) -> None:
            (f.root / "source" / name).parent.mkdir(exist_ok=True)
            (f.root / "source" / name).write_text(mark)

        yield "other code", f"also {name}", relisting(more)
    for target in ("os:system", "subprocess:call", "xaibench.attribution.gradients:ixg", "../../../x.py:f",
                   "/etc/x.py:f",
                   "builtins:eval", "nothing:here", "captum.attr:Saliency"):  # fmt: skip
        yield "other code", f"a card of {target}", _card(target)
    for text in ("", "title = ", "[" * 5000, "\x00", 'target = "a\\u0000:b"', 'source = "x"'):
        yield "other code", f"a card {text[:20]!a}", _card("plugin_mine.py:mine", text)


def _card(target: str, text: str | None = None) -> Forge:
    """The methods by a card in place of the plug-in."""

    def forge(root: Path, relist: Callable[[Path], None]) -> Path:
        (root / "source" / "methods").mkdir()
        card = root / "source" / "methods" / "mine.toml"
        card.write_text(f'title = "x"\ntarget = "{target}"\n' if text is None else text)
        relist(root)
        value = json.loads((root / "submission.json").read_text())
        (root / "submission.json").write_text(json.dumps(value | {"card": "source/methods/mine.toml"}))
        return root

    return forge


def structural(folder: Path) -> Iterator[tuple[str, str, Forge]]:
    """All of them."""
    for part in (archives, folders, listed, cells, rows, records):
        yield from part(folder)
