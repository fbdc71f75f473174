"""`--verbose`, an option of every command."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from xaibench._version import __version__


def add_verbose(command: Any) -> Any:
    """A command, or a group of commands, each with the option."""
    below = getattr(command, "commands", None)
    for child in (below or {}).values():
        add_verbose(child)
    if not below:
        command.params.append(_option())
    return command


def _begin(context: typer.Context, value: bool) -> None:
    """Says what happens until the command ends."""
    if not value or context.resilient_parsing:
        return
    from xaibench.logs import verbose
    from xaibench.printing import logger
    from xaibench.provenance import command_line

    began = time.monotonic()
    context.with_resource(verbose())
    context.call_on_close(lambda: logger.info("ended after %.1f s", time.monotonic() - began))
    logger.info("xaibench %s: %s", __version__, command_line())


Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", callback=_begin, expose_value=False, help="Say what happens, a line each, on standard error."
    ),
]


def _option() -> Any:
    """The option, made by typer, whose classes differ from version to version."""
    parent = typer.Typer(add_completion=False, rich_markup_mode=None)

    @parent.command()
    def nothing(verbose: Verbose = False) -> None:
        """Only has the option."""

    return next(parameter for parameter in typer.main.get_command(parent).params if parameter.name == "verbose")
