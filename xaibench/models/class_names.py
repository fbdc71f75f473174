"""A text file of class names, one a line, in the order of the classes' numbers."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from xaibench.errors import XaibenchError

PROMPT = "a photo of a {}."
"""The text of a class that CLIP is usually asked for."""


def read_class_names(path: Path) -> tuple[str, ...]:
    """The names in a UTF-8 file, at least two; a line break at its end is no line.

    Raises XaibenchError, with the number of the line, for an empty line, spaces around a name, a name that is there
    twice, and control characters; and for what is no such file.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else f"cannot be read: {error.strerror}"
        raise XaibenchError(f"--classes-file {path} {reason}; it is a text file with one class name a line") from None
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    first: dict[str, int] = {}
    for number, name in enumerate(lines, 1):
        if problem := _problem(name, first):
            raise XaibenchError(f"--classes-file {path}: line {number} {problem}")
        first[name] = number
    if len(lines) < 2:
        raise XaibenchError(f"--classes-file {path} has one class; a classifier needs at least two")
    return tuple(lines)


def has_control(text: str) -> bool:
    """Whether a text has characters that are not shown, such as line breaks and marks of direction."""
    return any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn") for c in text)


def _problem(name: str, first: dict[str, int]) -> str:
    """What is wrong with a line, "" for nothing; first holds the names before it by their lines."""
    if not name.strip():
        return "is empty; leave no line without a class name"
    if has_control(name):
        return "has a control character; a class name is plain text"
    if name != name.strip():
        return "has spaces before or after the name"
    return f"repeats {name!r} of line {first[name]}" if name in first else ""
