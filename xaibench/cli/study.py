"""`xaibench study`: tables and figures of papers, repeated: our numbers beside the printed ones, and their claims."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xaibench.cli.arguments import Cards
from xaibench.cli.group import Commands
from xaibench.cli.output import echo
from xaibench.cli.study_run import RUN_EPILOG, run

if TYPE_CHECKING:
    from xaibench.analysis.stored import StoredResults

app = typer.Typer(
    cls=Commands, help="Repeat tables and figures of papers.", no_args_is_help=True, rich_markup_mode=None
)
Name = Annotated[str, typer.Argument(help="A name of `xaibench study ls`.")]
Folders = Annotated[
    list[Path] | None, typer.Option("--out", metavar="DIR", help="A results folder or board folder; repeatable.")
]

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


app.command("run", epilog=RUN_EPILOG)(run)


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
