"""`xaibench results`: a results folder as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xaibench.cli.group import Commands
from xaibench.cli.output import echo

app = typer.Typer(
    cls=Commands, help="Bring older results to today's schema.", no_args_is_help=True, rich_markup_mode=None
)

EPILOG = """
\b
Examples:
  xaibench results upgrade results --dry-run
  xaibench results upgrade results
"""


@app.command("upgrade", epilog=EPILOG)
def upgrade(
    folder: Annotated[Path, typer.Argument(help="The results folder.", metavar="DIR")] = Path("results"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be written anew.")] = False,
) -> None:
    """Write the rows of an older xaibench anew in today's schema.

    Older rows can be read without this; it is for whoever reads the Parquet files by other programs. Keys and scores
    stay, and columns that were not recorded then are null.
    """
    from xaibench.printing import clean
    from xaibench.report.text import count
    from xaibench.results.schema import SCHEMA_VERSION
    from xaibench.results.upgrade import outdated, upgrade_folder

    found = outdated(folder) if dry_run else upgrade_folder(folder)
    for item in found:
        path = item.path.relative_to(folder).as_posix()
        echo(f"{clean(path)}: {count(item.rows, 'row')}, schema {item.version} -> {SCHEMA_VERSION}")
    if not found:
        echo(f"nothing to do: all rows have schema {SCHEMA_VERSION}")
    elif dry_run:
        echo("nothing was changed; without --dry-run they are written anew")
