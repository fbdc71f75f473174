"""`xaibench study`: tables and figures of papers, repeated: our numbers beside the printed ones, and their claims."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xaibench.cli.arguments import Cards
from xaibench.cli.group import Commands
from xaibench.cli.output import echo
from xaibench.cli.page_output import Format, FormatOption, print_page

if TYPE_CHECKING:
    from xaibench.analysis.reproduction import Reproduction
    from xaibench.analysis.stored import StoredResults

app = typer.Typer(
    cls=Commands, help="Repeat tables and figures of papers.", no_args_is_help=True, rich_markup_mode=None
)
Scale = StrEnum("Scale", {name: name for name in ("embedded", "real", "paper")})
Name = Annotated[str, typer.Argument(help="A name of `xaibench study ls`.")]
Folders = Annotated[
    list[Path] | None, typer.Option("--out", metavar="DIR", help="A results folder or board folder; repeatable.")
]
SCALE = Annotated[Scale, typer.Option("--scale", help="On which data: critters, what pip brings, or the paper's.")]

RUN_EPILOG = """
\b
Examples:
  # what there is, and what one of them needs
  xaibench study ls 'hesse*'
  xaibench study show hesse-table-4
  # run what is missing; what the folder has under the same keys is not run again
  xaibench study run hesse-table-4
  # from rows that are stored, without computing
  xaibench study run hesse-table-4 --stored --out leaderboards/critters
  # what it would run, and what of that is stored
  xaibench study run rao-table-1 --dry-run --with leaderboards/trainings
  # what another folder has is read there, and not run
  xaibench study run rao-table-1 --with leaderboards/trainings
  # one training of each arm: a first look, as claims about designs take five
  xaibench study run rao-table-1 --trainings 1
  xaibench study run hesse-table-4 --scale paper --data-root ILSVRC2012
"""
SHOW_EPILOG = """
\b
Examples:
  xaibench study show hesse-table-4
  # also what of it is stored, and what is missing
  xaibench study show rao-table-1 --out results --out leaderboards/trainings
"""
REPORT_EPILOG = """
\b
Example:
  xaibench study report --out leaderboards/critters --out results --to docs/reproduction.md
"""


@app.command("ls", epilog="Example:  xaibench study ls 'obey*'")
def ls(
    pattern: Annotated[str, typer.Argument(metavar="GLOB", help="Only names that match, such as 'rao*'.")] = "*",
    cards: Cards = None,
) -> None:
    """List the studies: table or figure, and the scales at which each runs."""
    from xaibench import registry
    from xaibench.plugins import add

    add((), cards or ())
    names = registry.names("study", pattern)
    for name in names:
        card = registry.card("study", name)
        scales = ", ".join(scale for scale, one in card.scales.items() if one.runs_something) or card.content
        echo(f"{name:<{max(map(len, names))}}  {card.item}: {card.title}  [{scales}]")


@app.command("show", epilog=SHOW_EPILOG)
def show(name: Name, out: Folders = None, cards: Cards = None) -> None:
    """Print what a study repeats, what each scale runs, needs and costs, what of it is stored, and its claims."""
    from xaibench import registry
    from xaibench.plugins import add
    from xaibench.reproduction.describe import describe

    add((), cards or ())
    echo(describe(registry.card("study", name), _stored(out)))


def _stored(folders: list[Path] | None) -> StoredResults | None:
    """What folders hold; without names, that of `results` where it is there."""
    from xaibench import registry
    from xaibench.analysis.stored import StoredResults

    given = folders or [path for path in [Path("results")] if (path / "rows").is_dir()]
    return StoredResults(*given, newest=registry.shipped_version) if given else None


@app.command("run", epilog=RUN_EPILOG)
def run(
    name: Name,
    scale: SCALE = Scale.embedded,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The results folder.")] = Path("results"),
    also: Annotated[
        list[Path] | None,
        typer.Option("--with", metavar="DIR", help="A folder whose results count too, and are not run; repeatable."),
    ] = None,
    stored: Annotated[bool, typer.Option("--stored", help="Compute nothing: use what --out and --with have.")] = False,
    trainings: Annotated[
        int | None,
        typer.Option("--trainings", metavar="N", min=1, help="Only the first N trainings of each arm of comparisons."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and what of it is stored.")] = False,
    data_root: Annotated[
        Path | None, typer.Option("--data-root", metavar="DIR", help="The folder of the images.")
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Allow published weights to be fetched.")] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    format_: FormatOption = Format.table,
    cards: Cards = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Run what a study lacks, draw its figure, and print our numbers beside the printed ones, and every claim.

    A claim shows, does not show, or cannot be told: paired tests over images, or intervals over five trainings of
    each arm, decide. Everything is kept: the same command after an interruption goes on, and one with more trainings
    adds to those that are there.
    """
    from xaibench.errors import XaibenchError
    from xaibench.files import make_folder
    from xaibench.printing import clean
    from xaibench.report.pages import page_of
    from xaibench.report.reproduction_figure import reproduction_figure
    from xaibench.reproduction.api import study

    if stored and trainings:
        raise XaibenchError("--stored trains nothing and counts all that is stored: leave out --trainings")
    if dry_run:
        known = [*([out] if (out / "rows").is_dir() else []), *(also or ())]
        return _dry_run(name, scale.value, known, trainings or 0, cards)
    changes = {"data_root": data_root, "download": download, "device": device}
    report = lambda line: None if quiet else echo(clean(line), err=True)  # noqa: E731
    progress = {"quiet": quiet, "report": report}
    folders = {"also": tuple(also or ()), "cards": tuple(cards or ())}
    found = study(name, scale.value, out, stored=stored, trainings=trainings or 0, **progress, **folders, **changes)
    print_page(page_of(found), format_)
    if format_ is Format.table:
        for note in found.notes:
            echo(clean(note))
    folder = (Path("results") if stored else out) / "figures"
    make_folder(folder)
    path = reproduction_figure(found, folder / f"study-{found.card.name}-{scale.value}.png")
    paths = [] if path is None else [path]
    if not stored:
        paths += _sheets(found, folder, quiet, changes)
    for path in paths:
        echo(f"figure: {clean(path)}", err=format_ is not Format.table)


def _sheets(found: Reproduction, folder: Path, quiet: bool, changes: dict[str, object]) -> list[Path]:
    """Draws the study's figures of images, from its networks."""
    from xaibench.report.image_rows import image_rows
    from xaibench.reproduction.map_rows import LEGEND
    from xaibench.reproduction.sheets import sheet_rows

    given = {name: value for name, value in changes.items() if value}
    paths = []
    for name, sheet in found.card.scales[found.scale].sheets.items():
        path = folder / f"study-{found.card.name}-{found.scale}-{name}.png"
        rows, legend = sheet_rows(sheet, quiet, **given), LEGEND if sheet.kind == "maps" else ""
        paths.append(image_rows(rows, f"{found.title}: {name}", path, legend))
    return paths


def _dry_run(name: str, scale: str, folders: list[Path], trainings: int, cards: list[Path] | None) -> None:
    from xaibench import registry
    from xaibench.plugins import add
    from xaibench.reproduction.describe import describe_scale
    from xaibench.reproduction.needs import scale_of

    add((), cards or ())
    card = registry.card("study", name)
    scale_of(card, scale)
    for line in describe_scale(card, scale, _stored(folders), trainings):
        echo(line)


@app.command("report", epilog=REPORT_EPILOG)
def report(
    out: Folders = None,
    to: Annotated[Path, typer.Option("--to", metavar="FILE.md", help="What is written.")] = Path("reproduction.md"),
) -> None:
    """Write a page of all studies and claims with their state, from stored results alone."""
    from xaibench.files import write_atomic
    from xaibench.reproduction.document import document

    text = document(out or [Path("results")], lambda line: echo(line, err=True))
    write_atomic(to, text.encode())
    echo(f"{to}")
