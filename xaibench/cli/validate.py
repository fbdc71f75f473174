"""`xaibench validate`: everything that is wrong with a results folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xaibench.cli.output import echo

EPILOG = """
\b
Examples:
  xaibench validate results
  xaibench validate downloads/their-results && xaibench leaderboard idsds --out downloads/their-results
"""


def command(
    path: Annotated[Path, typer.Argument(help="The results folder; nothing in it is changed.", metavar="PATH")],
) -> None:
    """Check a results folder; print one problem a line and exit with 1 if there is any."""
    from xaibench.printing import clean
    from xaibench.report.text import count
    from xaibench.results.validate import inspect

    found = inspect(path)
    for problem in found.problems:
        echo(clean(problem))
    if found.problems:
        raise typer.Exit(1)
    echo(f"{count(found.rows, 'row')} in {count(found.cells, 'cell')}: no problems")
