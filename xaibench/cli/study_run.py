"""`xaibench study run`: one study or several, run or read from stored rows, printed and drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xaibench.cli.arguments import Cards
from xaibench.cli.output import echo
from xaibench.cli.page_output import Format, FormatOption, print_page
from xaibench.errors import XaibenchError
from xaibench.printing import clean

if TYPE_CHECKING:
    from xaibench.analysis.reproduction import Reproduction

Scale = StrEnum("Scale", {name: name for name in ("embedded", "real", "paper")})
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
  # masks of objects are made and networks are trained first
  xaibench study run obey-table-2 --scale paper --data-root DATA --download
  # the paper trained each arm once; five trainings decide its claims
  xaibench study run rao-figure-8 --scale paper --data-root VOC --trainings 5
  # all studies of a paper, one after another; first how much they lack together
  xaibench study run 'rao-*' --trainings 1 --dry-run --with leaderboards/trainings
  xaibench study run 'rao-*' --trainings 1 --with leaderboards/trainings
"""


def run(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Names of `xaibench study ls`, or patterns such as 'rao-table*'."),
    ],
    scale: SCALE = Scale.embedded,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The results folder.")] = Path("results"),
    also: Annotated[
        list[Path] | None,
        typer.Option("--with", metavar="DIR", help="A folder whose results count too, and are not run; repeatable."),
    ] = None,
    stored: Annotated[bool, typer.Option("--stored", help="Compute nothing: use what --out and --with have.")] = False,
    trainings: Annotated[
        int | None,
        typer.Option(
            "--trainings",
            metavar="N",
            min=1,
            help="Trainings of each arm of comparisons, by default as many as the card has: one for a first look, five "
            "for claims about designs.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and what of it is stored.")] = False,
    data_root: Annotated[
        Path | None,
        typer.Option("--data-root", metavar="DIR", help="The folder of all its data sets."),
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Allow published weights to be fetched.")] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    format_: FormatOption = Format.table,
    cards: Cards = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Run what studies lack, draw their figures, and print our numbers beside the printed ones, and every claim.

    Masks of objects and networks under a name that runs take are made first.
    A claim shows, does not show, or cannot be told: paired tests over images, or intervals over five trainings of
    each arm, decide. Everything is kept: the same command after an interruption goes on, and one with more trainings
    adds to those that are there. Of several studies one that cannot run does not stop the others.
    """
    from xaibench.plugins import add
    from xaibench.reproduction.needs import chosen

    if stored and trainings:
        raise XaibenchError("--stored trains nothing and counts all that is stored: leave out --trainings")
    add((), cards or ())
    names = chosen(names, scale.value)
    if dry_run:
        return _dry_run(names, scale.value, out, also or (), trainings or 0)
    if len(names) > 1 and format_ in (Format.csv, Format.json):
        raise XaibenchError(f"--format {format_} is of one study, and these are {len(names)}; take table, md or html")
    report = lambda line: None if quiet else echo(clean(line), err=True)  # noqa: E731
    changes = {"data_root": data_root, "download": download, "device": device}
    options = {
        "stored": stored, "trainings": trainings or 0, "quiet": quiet, "report": report, "also": tuple(also or ()),
        "cards": tuple(cards or ()),
    }  # fmt: skip
    _each(names, report, lambda name: _one(name, scale.value, out, format_, options, changes))


def _each(names: Sequence[str], report: Callable[[str], None], act: Callable[[str], None]) -> None:
    """Acts for each name; of several one that fails does not stop the others, and XaibenchError at the end names it."""
    if len(names) == 1:
        return act(names[0])
    failed = []
    for number, name in enumerate(names, 1):
        report(f"study {number}/{len(names)}: {name}")
        try:
            act(name)
        except XaibenchError as error:
            echo(clean(f"{name}: {error}"), err=True)
            failed.append(name)
    if failed:
        raise XaibenchError(f"{len(failed)} of {len(names)} studies were not carried out: {', '.join(failed)}")


def _one(
    name: str, scale: str, out: Path, format_: Format, options: dict[str, Any], changes: dict[str, object]
) -> None:
    """Carries out a study, prints its page and draws its figures."""
    from xaibench.files import make_folder
    from xaibench.report.pages import page_of
    from xaibench.report.reproduction_figure import reproduction_figure
    from xaibench.reproduction.api import study

    found = study(name, scale, out, **options, **changes)
    print_page(page_of(found), format_)
    if format_ is Format.table:
        for note in found.notes:
            echo(clean(note))
    folder = (Path("results") if options["stored"] else out) / "figures"
    make_folder(folder)
    path = reproduction_figure(found, folder / f"study-{name}-{scale}.png")
    paths = [] if path is None else [path]
    if not options["stored"]:
        paths += _sheets(found, folder, options["quiet"], changes)
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


def _dry_run(names: Sequence[str], scale: str, out: Path, also: Sequence[Path], trainings: int) -> None:
    from xaibench import registry
    from xaibench.reproduction.describe import describe_scale, together
    from xaibench.reproduction.measure import stored_in

    results = stored_in(out, also)
    cards = [registry.card("study", name) for name in names]
    for card in cards:
        if len(cards) > 1:
            echo(f"{card.name}, {card.item}")
        for line in describe_scale(card, scale, results if results.stores else None, trainings):
            echo(line)
    if len(cards) > 1:
        echo(together(cards, scale, results, trainings))
