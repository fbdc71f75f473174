"""`xaibench ls`: the names in the registry."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from xaibench.cli.arguments import Cards, Plugins

EPILOG = """
\b
Examples:
  xaibench ls methods
  xaibench ls models 'resnet*'
  xaibench ls methods 'ig*' | xargs -n 1 xaibench show method
"""


class Kind(StrEnum):
    """What can be listed."""

    methods = "methods"
    models = "models"
    datasets = "datasets"
    protocols = "protocols"
    comparisons = "comparisons"


def command(
    kind: Annotated[Kind, typer.Argument(help="methods, models, datasets, protocols or comparisons.")],
    pattern: Annotated[str, typer.Argument(metavar="GLOB", help="Only names that match, such as 'resnet*'.")] = "*",
    plugin: Plugins = None,
    cards: Cards = None,
) -> None:
    """List names: with titles on a terminal, one plain name a line elsewhere."""
    from xaibench import registry
    from xaibench.plugins import add

    add(plugin or (), cards or ())
    single = kind.value.removesuffix("s")
    names = registry.names(single, pattern)
    if not sys.stdout.isatty():
        typer.echo("\n".join(names), nl=bool(names))
        return
    width = max(map(len, names), default=0)
    for name in names:
        card = registry.card(single, name)
        marks = f"  [{card.role}]" if single == "method" and card.role != "method" else ""
        typer.echo(f"{name:<{width}}  {card.title}{marks}")
    if single == "model" and pattern == "*":
        typer.echo("\nand any convolutional network or plain vision transformer of timm, as timm:NAME")
