"""`xaibench ls`: the names of the cards of a kind."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from xaibench.cli.arguments import Cards, Plugins
from xaibench.cli.output import echo
from xaibench.kinds import PLURALS

EPILOG = """
\b
Examples:
  xaibench ls methods
  xaibench ls models 'resnet*'
  xaibench ls methods 'ig*' | xargs -n 1 xaibench show method
"""


Plural = StrEnum("Plural", PLURALS)
"""What can be listed; the name of a member is the kind of card."""


def command(
    kind: Annotated[Plural, typer.Argument(help="methods, models, datasets, protocols, comparisons, losses, ...")],
    pattern: Annotated[str, typer.Argument(metavar="GLOB", help="Only names that match, such as 'resnet*'.")] = "*",
    plugin: Plugins = None,
    cards: Cards = None,
) -> None:
    """List names: with titles on a terminal, one plain name a line elsewhere."""
    from xaibench import registry
    from xaibench.plugins import add

    add(plugin or (), cards or ())
    single = kind.name
    names = registry.names(single, pattern)
    if not sys.stdout.isatty():
        echo("\n".join(names), nl=bool(names))
        return
    width = max(map(len, names), default=0)
    for name in names:
        card = registry.card(single, name)
        mark = card.role if single == "method" and card.role != "method" else ""
        mark = card.category.replace("_", " ") if single == "protocol" else mark
        echo(f"{name:<{width}}  {card.title}" + (f"  [{mark}]" if mark else ""))
    if single == "model" and pattern == "*":
        echo("\nand any network of timm, as timm:NAME, and CLIP as clip:NAME")
