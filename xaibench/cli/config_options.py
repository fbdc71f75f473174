"""Options of a command from the fields of its request: one list for help, TOML files and Python.

Every option is absent unless it is given, so that a file of `--config` fills the rest and defaults come last.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from xaibench.cli.arguments import parse_names, parse_options
from xaibench.configuration import Config, argument_of, kind_of
from xaibench.errors import XaibenchError

TYPES = {"flag": bool, "int": int, "float": float, "path": Path, "text": str, "names": str}
METAVARS = {"int": "N", "text": "NAME", "path": "PATH", "names": "NAME,...", "paths": "PATH", "table": "KEY=VALUE"}

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Options from a TOML file; those on the command line win."),
]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print the request as TOML, and do nothing.")]


def option(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    """A parameter of a command that no field of its request stands for."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def options_of(cls: type[Config]) -> list[inspect.Parameter]:
    """The parameters of a command for the fields of its request, positional first, all None unless given."""
    fields = [(name, info) for name, info in cls.model_fields.items() if not argument_of(info).hidden]
    fields.sort(key=lambda field: argument_of(field[1]).flag != "")
    return [option(name, _annotation(name, info)) for name, info in fields]


def command_of(
    cls: type[Config], call: Callable[..., None], others: Sequence[inspect.Parameter] = (), doc: str | None = None
) -> Callable[..., None]:
    """The function of a command: its parameters are the fields of the request and others.

    call(given, **others) gets the fields that were given, parsed but not checked. doc: the help of the command, by
    default that of `call`.
    """
    mine, names = options_of(cls), [parameter.name for parameter in others]

    def command(**values: Any) -> None:
        rest = {name: values.pop(name) for name in names}
        call(parsed(cls, values), **rest)

    command.__signature__ = inspect.Signature([*mine, *others])
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in (*mine, *others)}
    command.__doc__ = doc or call.__doc__
    return command


def parsed(cls: type[Config], values: Mapping[str, Any]) -> dict[str, Any]:
    """What was given for the fields of a request, words of the command line as the values that they stand for."""
    found = {}
    for name, value in values.items():
        if value is None or value == [] or (value is False and kind_of(cls.model_fields[name]) == "flag"):
            continue
        kind = kind_of(cls.model_fields[name])
        if kind == "names":
            found[name] = parse_names(value)
        elif kind == "table":
            found[name] = nested(parse_options(value))
        else:
            found[name] = value
    return found


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """A table of flat keys such as `sds.grid` as nested tables; raises XaibenchError where a key is also a table."""
    found: dict[str, Any] = {}
    for key, value in flat.items():
        *above, last = key.split(".")
        table = found
        for part in above:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise XaibenchError(f"{key}: {part} is given a value of its own, too")
        table[last] = value
    return found


def merged(cls: type[Config], file: Path | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request: those of a file, and over them those of the command line; tables entry by entry."""
    fields = cls.read_file(file) if file is not None else {}
    for name, value in given.items():
        fields[name] = _over(fields.get(name), value)
    return fields


def _over(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: _over(below.get(key), value) for key, value in above.items()}


def _annotation(name: str, info: FieldInfo) -> Any:
    argument, kind = argument_of(info), kind_of(info)
    kind_type = list[Path] if kind == "paths" else list[str] if kind == "table" else TYPES[kind]
    metavar = argument.metavar or METAVARS.get(kind)
    settings: dict[str, Any] = {"help": f"{info.description}{_default(info, kind)}", "metavar": metavar}
    for limit in ("ge", "le"):
        bound = next((getattr(item, limit) for item in info.metadata if hasattr(item, limit)), None)
        if bound is not None:
            settings["min" if limit == "ge" else "max"] = bound
    if argument.flag == "":
        return Annotated[kind_type | None, typer.Argument(**settings, show_default=False)]
    flag = argument.flag or f"--{name.replace('_', '-')}"
    return Annotated[kind_type | None, typer.Option(flag, **settings, show_default=False)]


def _default(info: FieldInfo, kind: str) -> str:
    """What the help says of the default; "" where there is none to speak of."""
    if info.is_required():
        return "  [required]"
    value = info.get_default(call_default_factory=True)
    stated = argument_of(info).default
    if stated is None and (value in (None, (), {}) or kind == "flag"):
        return ""
    return f"  [default: {value if stated is None else stated}]"
