"""`xaibench validate`: everything that is wrong with a results folder, or a board folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xaibench.cli.output import echo

EPILOG = """
\b
Examples:
  xaibench validate results
  # a board folder that `xaibench publish` wrote: also whether every file is as it was published
  xaibench validate board
  xaibench validate downloads/their-results && xaibench leaderboard idsds --out downloads/their-results
"""


def command(
    path: Annotated[Path, typer.Argument(help="The results folder; nothing in it is changed.", metavar="PATH")],
) -> None:
    """Check a results folder, or a board folder; print one problem a line and exit with 1 if there is any.

    Files of a board folder that were changed, removed or added since it was published are problems too.
    """
    from xaibench.printing import clean
    from xaibench.publication.index import is_board_folder
    from xaibench.publication.sums import SUMS, unchanged
    from xaibench.report.text import count
    from xaibench.results.validate import inspect

    found, problems, published = inspect(path), [], ""
    if is_board_folder(path):
        compared = unchanged(path)
        problems = compared.problems
        if compared.files is None:
            echo(f"board.json: an earlier version without {SUMS}: files that were changed are not noticed; publishing "
                 "to it again lists them")  # fmt: skip
        else:
            published = f", {count(compared.files, 'file')} as published"
    for problem in (*found.problems, *problems):
        echo(clean(problem))
    if found.problems or problems:
        raise typer.Exit(1)
    echo(f"{count(found.rows, 'row')} in {count(found.cells, 'cell')}{published}: no problems")
