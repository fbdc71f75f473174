"""`xaibench submit`: packs results and the code of a method for a board."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xaibench.cli.output import echo

EPILOG = """
\b
Examples:
  # run the method beside others, pack it, and look at it as the board will
  xaibench run idsds --model resnet50 --methods my-method,ixg,random --plugin my_method.py
  xaibench submit results --card my_method.py --to my-method.zip
  xaibench validate my-method.zip
  xaibench submit results --card my_cards/methods/my-method.toml --to my-method.zip    # a card of a folder --cards
  xaibench submit results --card my_method.py --to pull-request/my-method              # a folder, to be read in a diff
"""


def command(
    results: Annotated[Path, typer.Argument(help="The results folder.")],
    card: Annotated[
        Path, typer.Option("--card", metavar="FILE", help="The card (.toml) or the plug-in (.py) of your method.")
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FILE.zip|DIR", help="What is written; nothing is replaced.")],
    protocol: Annotated[str | None, typer.Option("--protocol", help="Only boards of it (wildcards allowed).")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only boards of this model (wildcards allowed).")] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Only boards of this data set (wildcards allowed).")
    ] = None,
    allow_name: Annotated[
        list[str] | None,
        typer.Option("--allow-name", metavar="NAME", help="A name of you or this machine that may go out."),
    ] = None,
) -> None:
    """Pack rows, records of runs, image lists, and your method's card and code, for a board that others keep.

    Your paths and names are left out of the records, as in `xaibench publish`; your code goes out as it is.
    """
    from xaibench.publication.api import Request
    from xaibench.publication.collect import Selection
    from xaibench.report.text import count
    from xaibench.submission.pack import submit

    selection = Selection(protocol, model, dataset, None)
    packed = submit(results, card, to, Request(selection, gallery=0, allowed=tuple(allow_name or ())))
    for note in packed.notes:
        echo(note, err=True)
    checked = packed.checked
    names = ", ".join(checked.submission.methods)
    echo(f"{to}: {names}: {count(checked.rows, 'row')} in {count(checked.cells, 'cell')}")
    echo(f"its name is {packed.hash}")
    echo(f"next: xaibench validate {to} --replay 20 --trust")
