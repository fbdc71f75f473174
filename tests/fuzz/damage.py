"""What befalls files: bytes that change, JSON and TOML of the wrong types, texts that no program expects."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

DEEP: Any = "x"
for _ in range(60):
    DEEP = [DEEP]

EVIL_TEXTS = (
    "", " ", "\x00", "\x1b[2J\x1b]0;x\x07", "../../../../etc/passwd", "x/../../../../NAME", "=cmd|'/c'!A1", "a" * 5000,
    "\u202e\u200b", "🦉" * 400, "[red]", "{0.__class__}", "%s%n", "con", "-rf", "--out", "\n\n", "NaN", "1e999", "null",
    "\ud800", "a\udcff", "x" * 100_000, ".:x", "~nobody/x", "/dev/zero", "9" * 5000,
)  # fmt: skip
EVIL = (
    *EVIL_TEXTS, None, True, False, 0, -1, 1, 3, 2**31, 2**53, 2**64, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, 1e-320,
    [], [[]], {}, {"": None}, [None], ["x", 1], {"name": "x"}, DEEP,
)  # fmt: skip
RAW = (
    b"", b"\x00", b"{", b"}", b"[" * 100_000, b'{"a":' * 20_000, b"NaN", b"Infinity", b"1" * 5000, b"-1e99999",
    b"\xff\xfe",
    b'"\\ud800"', b"[]", b"null", b"\xef\xbb\xbf{}", b"PAR1", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"<" * 5000, b"\r\n",
)  # fmt: skip


class Content(bytes):
    """Bytes that a failing test shows the beginning of."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes: {bytes(self[:60])!r}>"


@st.composite
def broken_bytes(draw, original: bytes) -> Content:
    """The bytes of a file after one to three accidents."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 3))):
        size = len(data)
        at = draw(st.integers(0, max(size - 1, 0)))
        kind = draw(st.sampled_from(["flip", "cut", "delete", "insert", "zeros", "double", "replace"]))
        length = draw(st.integers(1, max(1, min(size, 200))))
        if kind == "flip" and size:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[at:]
        elif kind == "delete":
            del data[at : at + length]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=40))
        elif kind == "zeros":
            data[at : at + length] = bytes(len(data[at : at + length]))
        elif kind == "double":
            data[at:at] = data[at : at + length]
        elif kind == "replace":
            data = bytearray(draw(st.sampled_from(RAW)))
    return Content(data)


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """The paths of all parts of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


@st.composite
def broken_value(draw, original: Any) -> Any:
    """A JSON value in which one to three parts are others, missing, renamed or doubled."""
    value = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(value)))
        if not path:
            if draw(st.integers(0, 9)) == 0:
                value = copy.deepcopy(draw(st.sampled_from(EVIL)))
            continue
        parent = value
        for key in path[:-1]:
            parent = parent[key]
        kind = draw(st.sampled_from(["evil", "evil", "evil", "gone", "renamed", "double"]))
        if kind == "evil":
            parent[path[-1]] = copy.deepcopy(draw(st.sampled_from(EVIL)))
        elif kind == "gone":
            del parent[path[-1]]
        elif isinstance(parent, dict):
            moved = parent.pop(path[-1]) if kind == "renamed" else parent[path[-1]]
            parent[draw(st.sampled_from(EVIL_TEXTS))] = moved
        else:
            parent.append(parent[path[-1]])
    return value


def as_json(value: Any) -> Content:
    """JSON of any such value, with lone surrogates as escapes."""
    return Content(json.dumps(value).encode())


def broken_json(original: Any) -> st.SearchStrategy[Content]:
    """The bytes of a JSON file, damaged in its structure or in its bytes."""
    return st.one_of(broken_value(original).map(as_json), broken_bytes(as_json(original)))


@st.composite
def broken_toml(draw, original: str) -> Content:
    """The text of a TOML file in which values, names or lines are others."""
    lines = original.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(lines) - 1, 0)))
        name = lines[at].partition("=")[0] if lines else ""
        value = draw(st.sampled_from(EVIL))
        kind = draw(st.sampled_from(["value", "value", "value", "gone", "double", "raw"]))
        if kind == "value" and "=" in (lines[at] if lines else ""):
            lines[at] = f"{name}= {json.dumps(value)}"
        elif kind == "gone" and lines:
            del lines[at]
        elif kind == "double" and lines:
            lines.insert(at, lines[at])
        elif kind == "raw":
            lines.insert(at, draw(st.sampled_from(EVIL_TEXTS)))
    text = Content("\n".join(lines).encode("utf-8", "surrogatepass"))
    return draw(broken_bytes(text)) if draw(st.integers(0, 4)) == 0 else text
