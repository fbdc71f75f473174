"""Forged archives and folders: what no submission has in it, whatever the content."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from forging import Forge

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
