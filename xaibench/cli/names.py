"""What a shell completes: the names of cards, in the options and arguments that take them."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

KINDS = {
    "model": "model",
    "models": "model",
    "reference_model": "model",
    "dataset": "dataset",
    "unlabelled": "dataset",
    "methods": "method",
    "protocol": "protocol",
    "protocols": "protocol",
    "comparison": "comparison",
}
"""The kind of card whose names an option or argument takes, by the name of its parameter."""


def candidate(value: str, text: str = "") -> Any:
    """Something that a shell may complete to, as typer takes it: its value and what it means."""
    return SimpleNamespace(value=value, type="plain", help=text)


def complete_names(command: Any) -> Any:
    """A command, or a group of commands, whose options and arguments complete names of cards."""
    below = getattr(command, "commands", None) or {}
    for name, child in below.items():
        complete_names(child)
        for parameter in child.params:
            if command.name == "show" and parameter.name == "name":  # `show method NAME`
                parameter.shell_complete = partial(_names, name)
    for parameter in command.params:
        if parameter.name in KINDS:
            parameter.shell_complete = partial(_names, KINDS[parameter.name])
    return command


def _names(kind: str, context: Any, incomplete: str) -> list[Any]:
    """The names that begin with what stands after the last comma."""
    from xaibench import registry
    from xaibench.errors import XaibenchError

    before, comma, last = incomplete.rpartition(",")
    try:
        names = registry.names(kind)
    except XaibenchError:
        return []
    return [candidate(f"{before}{comma}{name}") for name in names if name.startswith(last)]
