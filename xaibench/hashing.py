"""Hashes that name things: the content of files, and plain values as they stand in keys."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def content_hash(data: bytes) -> str:
    """The hex digest that names some bytes, such as the source of an image."""
    return hashlib.blake2b(data, digest_size=10).hexdigest()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, 64 hex digits: what publishers of files say of them."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """16 hex digits of BLAKE2b over canonical JSON: sorted keys, no spaces, no NaN, and 1.0 written as 1.

    >>> digest({"a": 1, "b": (2.0,)}) == digest({"b": [2], "a": 1.0})
    True
    """
    text = json.dumps(_canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _canonical(value: Any) -> Any:
    # Cards say 1, option parsers say 1.0: the same setting must not become two cells.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"the keys of a cell must be strings: {value!r}")
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    return value
