"""The verbs, put together. Verb files import what is heavy inside their functions, so this stays quick."""

from __future__ import annotations

from typing import Annotated

import typer

from xaibench._version import __version__
from xaibench.cli import compare, data, explain, leaderboard, ls, masks, run, show, status, train, validate

app = typer.Typer(
    name="xaibench",
    help="Which attribution method explains this vision model best?",
    epilog="Start with:  xaibench run idsds --model resnet50",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for verb in (run, compare, explain, leaderboard, status, validate, ls):
    app.command(verb.__name__.rpartition(".")[2], epilog=verb.EPILOG)(verb.command)
app.add_typer(show.app, name="show")
app.add_typer(train.app, name="train")
app.add_typer(masks.app, name="masks")
app.add_typer(data.app, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"xaibench {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Which attribution method explains this vision model best?"""
