"""What is printed is cleaned here: names, messages and commands come from files, plug-ins and folders of others."""

from __future__ import annotations

import logging
import sys
from typing import Any

UNITS = ("B", "kB", "MB", "GB", "TB")
logger = logging.getLogger("xaibench")
"""Takes what is said to the user, too; see `xaibench.logs`."""
logger.addHandler(logging.NullHandler())
LONGEST = 4000  # characters of a line; names in files of others have no end of their own
NO_METHOD = "(none)"  # the method of what is measured of a network alone


def clean(text: Any) -> str:
    """Text on one line without control characters, so that a name cannot drive the terminal; `?` is in their place."""
    return "".join(character if character.isprintable() else "?" for character in str(text))


def clean_lines(text: Any) -> str:
    """Text of several lines, each cleaned; tabs become spaces."""
    return "\n".join(clean(line.replace("\t", " ").removesuffix("\r")) for line in str(text).split("\n"))


def say(text: Any) -> None:
    """Prints one line for the user on standard error, at once, that begins with `xaibench: `."""
    print_line(f"xaibench: {text}")
    logger.info("%s", text, extra={"printed": True})


def print_line(text: Any) -> None:
    """Prints one line on standard error, at once; of a very long one the beginning."""
    line = clean(" ".join(str(text).split()))
    print(line if len(line) <= LONGEST else f"{line[:LONGEST]}...", file=sys.stderr, flush=True)


def size_text(size: float) -> str:
    """Bytes for reading: `1.2 GB`."""
    number = 0
    while size >= 1000 and number < len(UNITS) - 1:
        size, number = size / 1000, number + 1
    return f"{size:.0f} {UNITS[number]}" if number == 0 or size >= 100 else f"{size:.1f} {UNITS[number]}"
