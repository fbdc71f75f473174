"""`xaibench data`: whether a data set is complete, and what is in it."""

from __future__ import annotations

import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xaibench.cli import arguments
from xaibench.cli.group import Commands
from xaibench.cli.output import echo

if TYPE_CHECKING:
    from xaibench.cards import DatasetCard
    from xaibench.datasets.base import Dataset

app = typer.Typer(cls=Commands, help="Check a data set.", no_args_is_help=True, rich_markup_mode=None)

EPILOG = """
\b
Examples:
  xaibench data check voc2012 --data-root VOCdevkit
  xaibench data check cub --data-root data --quick
  xaibench data check mnist --data-root data --download --format json
"""


class Format(StrEnum):
    """How the findings are printed."""

    table = "table"
    csv = "csv"
    json = "json"


@app.command("check", epilog=EPILOG)
def check(
    name: Annotated[str, typer.Argument(help="A name of `xaibench ls datasets`.")],
    data_root: Annotated[
        Path | None, typer.Option("--data-root", metavar="DIR", help="The folder with its images.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--dataset-option", metavar="KEY=VALUE", help="Such as split=train.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="First fetch the data into --data-root, if its source allows this.")
    ] = False,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Read only the images that are drawn; of the others only labels and headers."),
    ] = False,
    images: Annotated[int, typer.Option("--images", min=1, help="How many images to draw.")] = 20,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PNG", help="The contact sheet.", show_default="NAME.png")
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="table, csv or json.")] = Format.table,
    plugin: arguments.Plugins = None,
    cards: arguments.Cards = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """List the files of a data set and those that are missing, read every image, and draw a contact sheet of the first.

    The exit status is 1 if anything is broken. For csv and json, problems and the path of the sheet are on standard
    error.
    """
    from xaibench import registry
    from xaibench.cli.check_text import check_csv, check_json, check_text, problem_lines
    from xaibench.datasets.check import check_dataset
    from xaibench.plugins import add
    from xaibench.printing import clean
    from xaibench.progress import bar
    from xaibench.report.contact_sheet import dataset_sheet, sheet_path

    add(plugin or (), cards or ())
    card, path = registry.card("dataset", name), sheet_path(out or Path(f"{name}.png"))
    data = _opened(card, data_root, arguments.parse_options(option), download)
    with bar(f"checking {name}", len(data.ids), quiet) as progress:
        found = check_dataset(data, card.geometry.crop, images if quick else None, progress)
    if format_ is Format.table:
        terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size().columns if terminal else None
        echo(check_text(found, width, terminal) + "\n", coloured=True)
    else:
        echo({Format.csv: check_csv, Format.json: check_json}[format_](found).rstrip("\n"))
    aside = format_ is not Format.table
    for line in problem_lines(found):
        echo(line, err=aside)
    drawn = dataset_sheet(data, name, images, path, found.broken)
    echo(f"contact sheet: {clean(drawn)}" if drawn else "no contact sheet: no image can be read", err=aside)
    if found.problems:
        raise typer.Exit(1)


def _opened(card: DatasetCard, root: Path | None, options: dict[str, Any], download: bool) -> Dataset:
    """The data set, fetched first with --download; where it cannot be opened, the layout of its folder is printed."""
    from xaibench.datasets.open import fetch_dataset, open_dataset
    from xaibench.errors import XaibenchError

    if download:
        fetch_dataset(card, root, options)
    try:
        return open_dataset(card, root, options)
    except XaibenchError:
        if card.layout:
            echo(f"the layout of {card.name}:\n{arguments.indented(card.layout)}", err=True)
        raise
