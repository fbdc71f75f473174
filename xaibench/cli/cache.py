"""`xaibench cache`: what is kept on the disk, and its removal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xaibench.cli.group import Commands
from xaibench.cli.output import echo

app = typer.Typer(
    cls=Commands, help="List what is kept on the disk, and clear it.", no_args_is_help=True, rich_markup_mode=None
)
LIST = """
\b
Examples:
  xaibench cache ls
  xaibench cache ls --out results --json
"""
CLEAR = """
\b
Examples:
  # only says what would go
  xaibench cache clear downloads leftovers
  xaibench cache clear downloads leftovers --yes
  xaibench cache clear models --only 'resnet50 on critters*' --yes
  xaibench cache clear maps --out results --yes
"""
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="The results folder whose maps and leftovers count.")]


@app.command("ls", epilog=LIST)
def ls(
    out: Out = Path("results"), as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List what xaibench keeps besides rows: sizes, what each belongs to, and how it can be had again."""
    from xaibench.home import home
    from xaibench.maintenance.kept import AGAIN, kept
    from xaibench.printing import size_text
    from xaibench.report.text import json_text

    found = kept(out)
    if as_json:
        items = [_record(item) | {"again": AGAIN.get(item.kind)} for item in found]
        echo(json_text({"home": str(home()), "out": str(out), "kept": items}))
        return
    for kind in dict.fromkeys([*AGAIN, "cards"]):
        items = [item for item in found if item.kind == kind]
        if items:
            echo(f"{kind}: {size_text(sum(item.size for item in items))}, {AGAIN.get(kind, 'yours, never cleared')}")
            echo("\n".join(f"  {_line(item)}" for item in items))
    echo(
        f"{size_text(sum(item.size for item in found))} in {home()} and {out}; rows are not counted, and never cleared"
    )


@app.command("clear", epilog=CLEAR)
def clear(
    kinds: Annotated[list[str], typer.Argument(metavar="KIND...", help="downloads, models, masks, maps, leftovers.")],
    only: Annotated[
        str, typer.Option("--only", metavar="GLOB", help="Only what has this name, or belongs to this.")
    ] = "*",
    out: Out = Path("results"),
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without this, only list what would go.")] = False,
) -> None:
    """Remove some of what `cache ls` lists; without --yes nothing is removed.

    Rows, records and your own cards are never touched, nor what a process is using.
    """
    from xaibench.maintenance.clear import choose
    from xaibench.maintenance.clear import clear as remove
    from xaibench.maintenance.kept import AGAIN, kept
    from xaibench.printing import size_text

    chosen, gone = choose(kept(out), kinds, only), 0
    for item in chosen:
        if item.in_use or (yes and not remove(item)):
            echo(f"kept, in use by a process: {_line(item)}")
            continue
        gone += item.size
        echo(f"{'removed' if yes else 'would remove'}: {_line(item)}")
    for kind in dict.fromkeys(item.kind for item in chosen):
        echo(f"{kind}: {AGAIN[kind]}")
    if not chosen:
        echo("nothing to remove")
    else:
        echo(f"{size_text(gone)} {'removed' if yes else 'would be removed; give --yes to do so'}")


def _line(item: Any) -> str:
    from xaibench.printing import clean, size_text

    state = " (in use)" if item.in_use else ""
    warning = f"; {item.warning}" if item.warning else ""
    return clean(f"{size_text(item.size):>8}  {item.path.name}  {item.belongs}{state}{warning}")


def _record(item: Any) -> dict[str, Any]:
    return vars(item) | {"path": str(item.path)}
