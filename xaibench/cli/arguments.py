"""Parsing of arguments that several subcommands take, and options that they share."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from xaibench.errors import XaibenchError, one_line
from xaibench.parsing import parse_toml

MODEL = "A name of `xaibench ls models`, timm:NAME, clip:NAME, or FILE.py:BUILDER."

ImageSize = Annotated[
    int | None,
    typer.Option("--image-size", metavar="PIXELS", help="The side of images.", show_default="the data set's"),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE.py", help="A file with decorators of xaibench, such as @xaibench.method."),
]
Cards = Annotated[
    list[Path] | None,
    typer.Option("--cards", metavar="DIR", help="A folder with methods/NAME.toml, models/, datasets/, protocols/."),
]


def parse_options(options: Sequence[str] | None) -> dict[str, Any]:
    """KEY=VALUE arguments as a dict; a value is a TOML value (0.5, true, 3), or else text.

    >>> parse_options(["rule=one:beak", "background_correlation=0.9"])
    {'rule': 'one:beak', 'background_correlation': 0.9}
    """
    found = {}
    for option in options or ():
        key, equals, value = option.partition("=")
        if not equals or not key:
            raise XaibenchError(f"{option!r} is not KEY=VALUE")
        try:
            table = parse_toml(f"value = {value}")
            parsed = table["value"] if len(table) == 1 else value
        except tomllib.TOMLDecodeError:
            parsed = value
        except ValueError as error:
            raise XaibenchError(f"{option[:80]}: {one_line(error)}; give a smaller value") from error
        if key in found and found[key] != parsed:
            raise XaibenchError(f"{key} is given twice: {key}={found[key]} and {key}={parsed}; leave one out")
        found[key] = parsed
    return found


def indented(text: str) -> str:
    """Lines, each two columns to the right."""
    return "\n".join(f"  {line}" for line in text.strip("\n").splitlines())


def parse_names(text: str | None) -> list[str] | None:
    """Names separated by commas; None for none given."""
    from xaibench.configuration import split_names  # whose models take time that `xaibench ls` need not

    names = split_names(text)
    if names == []:
        raise XaibenchError("a list of names is empty")
    return names
