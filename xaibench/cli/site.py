"""`xaibench site`: a static site of a board folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xaibench.cli.group import Commands
from xaibench.cli.output import echo

app = typer.Typer(cls=Commands, help="Make a static site of boards.", no_args_is_help=True, rich_markup_mode=None)

EPILOG = """
\b
Examples:
  # a plain results folder works too; then open results/site/index.html
  xaibench site build results
  xaibench publish results --to board
  xaibench site build board --to public
"""


@app.command("build", epilog=EPILOG)
def build(
    folder: Annotated[Path, typer.Argument(help="The board folder, or a results folder.", metavar="BOARD_FOLDER")],
    to: Annotated[
        Path | None,
        typer.Option("--to", help="The folder of the site.", metavar="SITE_FOLDER", show_default="BOARD_FOLDER/site"),
    ] = None,
) -> None:
    """Build the site of a board folder.

    Its pages open from a file: nothing is fetched, and no server is needed. Tables can be read without JavaScript. The
    folder needs nothing outside of it and can be copied anywhere. A site that was built there before is replaced.
    """
    from xaibench.printing import clean
    from xaibench.report.text import count
    from xaibench.site.build import build_site

    site = build_site(folder, to)
    for note in site.notes:
        echo(clean(note), err=True)
    echo(f"{count(site.pages, 'page')}; open {clean(site.folder / 'index.html')}")
