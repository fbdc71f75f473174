"""Every public name (docs/stability.md): Python names and their parameters, fields of requests, commands and options,
columns of rows."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

FILE = Path(__file__).parent / "public_names.txt"
CALLED_WITH_FIELDS = {"run", "explain", "RunConfig"}  # whose parameters are the fields of a request
NOT_OF_COMMANDS = {"install_completion", "show_completion", "help"}


def lines() -> list[str]:
    """All public names, one a line, sorted."""
    return sorted({*_python(), *_requests(), *_commands(), *_columns()})


def _python() -> Iterator[str]:
    import xaibench

    for name in set(xaibench.__all__) - {"functional"}:
        value = getattr(xaibench, name)
        yield f"xaibench.{name}"
        yield from (f"xaibench.{name}{part}" for part in _parts(name, value))
    for name in set(xaibench.functional.__all__) - {"GROUPS"}:
        function = getattr(xaibench.functional, name)
        yield from (f"xaibench.functional.{name}({parameter})" for parameter in inspect.signature(function).parameters)


def _parts(name: str, value: Any) -> Iterator[str]:
    """Parameters of a function, attributes of a class."""
    if inspect.isclass(value):
        fields = [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
        if name not in CALLED_WITH_FIELDS and not issubclass(value, Exception):
            foreign = (
                set(dir(nn.Module)) if issubclass(value, nn.Module) else set()
            )  # other ones in each version of torch
            yield from (f".{part}" for part in {*dir(value), *fields} - foreign if not part.startswith("_"))
    elif callable(value) and name not in CALLED_WITH_FIELDS:
        yield from (f"({parameter})" for parameter in inspect.signature(value).parameters)


def _requests() -> Iterator[str]:
    from xaibench.comparison.config import ComparisonConfig
    from xaibench.evaluation.config import RunConfig
    from xaibench.explanation.config import ExplainConfig
    from xaibench.masks.config import MasksConfig
    from xaibench.training.config import TrainingConfig

    for config in (ComparisonConfig, ExplainConfig, MasksConfig, RunConfig, TrainingConfig):
        yield from (f"{config.__name__}.{field}" for field in config.model_fields)


def _commands() -> Iterator[str]:
    import typer

    from xaibench.cli.app import app

    def below(command: Any, path: str) -> Iterator[str]:
        yield path
        for parameter in command.params:
            if parameter.name not in NOT_OF_COMMANDS:
                yield from (f"{path} {option}" for option in parameter.opts if option.startswith("--"))
        for name, child in getattr(command, "commands", {}).items():
            yield from below(child, f"{path} {name}")

    yield from below(typer.main.get_command(app), "xaibench")


def _columns() -> Iterator[str]:
    from xaibench.results import current
    from xaibench.results.schema import SCHEMA

    yield from (f"rows/*.parquet: {name}" for name in SCHEMA.names)
    yield from (f"current.parquet: {name}" for name in current.SCHEMA.names)
