"""A page on standard output in the format that was asked for."""

from __future__ import annotations

import shutil
import sys
from enum import StrEnum
from typing import Annotated

import typer

from xaibench.cli.output import echo
from xaibench.presentation import Page


class Format(StrEnum):
    """How a page is printed."""

    table = "table"
    md = "md"
    csv = "csv"
    json = "json"
    html = "html"


FormatOption = Annotated[Format, typer.Option("--format", help="table, md, csv, json or html.")]


def print_page(page: Page, format_: Format) -> None:
    """Prints a page, as wide as the terminal where it is one."""
    if format_ is Format.table:
        terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size().columns if terminal else None
        echo(page.to_text(width, colour=terminal), coloured=True)
        echo()
        return
    write = {
        Format.md: page.to_markdown, Format.csv: page.to_csv, Format.json: page.to_json, Format.html: page.to_html,
    }[format_]  # fmt: skip
    echo(write().rstrip("\n"))
