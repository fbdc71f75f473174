"""What commands print on standard output."""

from __future__ import annotations

from typing import Any

import typer

from xaibench.printing import clean_lines


def echo(text: Any = "", *, err: bool = False, nl: bool = True, coloured: bool = False) -> None:
    """Prints text without control characters, on standard error with err, with a new line at its end with nl.

    coloured: the text has colours of our own, and its names are clean already.
    """
    typer.echo(text if coloured else clean_lines(text), err=err, nl=nl)
