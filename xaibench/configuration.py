"""Requests as data: frozen models that TOML, JSON, the command line and Python give in the same fields.

A subclass of `Config` is the only list of the options of what it asks for. The text below a field is its help on the
command line and its line in the reference; `Argument` says how it stands on the command line where its name and type do
not say it already.
"""

from __future__ import annotations

import json
import math
import shlex
import tomllib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo

from xaibench.errors import XaibenchError, did_you_mean, one_line
from xaibench.parsing import is_text, is_whole, parse_json, parse_toml

DEEPEST = 20  # tables within tables


@dataclass(frozen=True)
class Argument:
    """How a field stands on the command line.

    flag: the option, by default `--` and the field's name with hyphens; "" for the positional argument. metavar: what
    its value is called. default: what the help says of a default that the field does not hold, such as `the profile's`.
    hidden: a field that the command line does not offer.
    """

    flag: str | None = None
    metavar: str | None = None
    default: str | None = None
    hidden: bool = False


class Config(BaseModel):
    """A request: unknown fields are errors, and it cannot be changed once it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _plain_tables(cls, values: Any) -> Any:
        """Values of tables are what TOML, JSON and the command line can all say."""
        for name, value in values.items() if isinstance(values, Mapping) else ():
            if name in cls.model_fields and isinstance(value, Mapping):
                check_table(str(name), value)
            elif name in cls.model_fields:
                _check_values(name, value)
        return values

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str = "") -> Self:
        """The request that plain values make; raises XaibenchError with the field, what is wrong and, for a name that
        is no field, the nearest ones. where: the file that the values are from, for the message."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise XaibenchError(_problem(cls, error, where)) from None

    @classmethod
    def read_file(cls, path: Path) -> dict[str, Any]:
        """The fields that a TOML or JSON file gives, each checked; raises XaibenchError where it is no such file.

        Relative paths in it are relative to the working folder, as on the command line.
        """
        if not path.exists():
            raise XaibenchError(f"--config {path} does not exist")
        if not path.is_file():
            raise XaibenchError(f"--config {path} is no file; name a TOML or JSON file")
        try:
            found = (parse_json if path.suffix == ".json" else parse_toml)(path.read_bytes())
        except (OSError, ValueError) as error:
            raise XaibenchError(f"--config {path} cannot be read: {one_line(error)}") from None
        if not isinstance(found, dict):
            raise XaibenchError(f"--config {path} holds no fields, but {type(found).__name__}")
        unknown = [name for name in found if name not in cls.model_fields]
        if unknown:
            raise XaibenchError(f"--config {path}: {_unknown(cls, unknown[0])}")
        return found

    def changed(self) -> dict[str, Any]:
        """The fields that are not as by default, in plain JSON values."""
        return {
            name: value
            for name, value in self.model_dump(mode="json").items()
            if getattr(self, name) != type(self).model_fields[name].get_default(call_default_factory=True)
        }

    def to_toml(self) -> str:
        """The fields that are not as by default, as a TOML file that gives the same request."""
        plain = {name: value for name, value in self.changed().items() if value is not None}
        tables = {name: value for name, value in plain.items() if isinstance(value, dict)}
        lines = [f"{name} = {_toml(value)}" for name, value in plain.items() if name not in tables]
        for name, table in tables.items():
            lines += ["", f"[{name}]", *(f"{_key(key)} = {_toml(value)}" for key, value in table.items())]
        return "\n".join(lines) + "\n"

    def to_arguments(self) -> list[str]:
        """The words that ask for the same on the command line; defaults are left out."""
        values, positional, options = self.changed(), [], []
        for name, info in type(self).model_fields.items():
            argument = argument_of(info)
            value = values.get(name)
            if value is None or argument.hidden:
                continue
            if argument.flag == "":
                positional.append(",".join(map(str, value)) if isinstance(value, list) else str(value))
            else:
                options += list(_words(argument.flag or f"--{name.replace('_', '-')}", value, kind_of(info)))
        return [*positional, *options]

    def to_command(self, verb: str) -> str:
        """The command that asks for the same, as a shell takes it."""
        return shlex.join(["xaibench", *verb.split(), *self.to_arguments()])


def split_names(value: Any) -> Any:
    """Names joined by commas as a list of them; anything else as it is. For fields, before they are checked."""
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def path_text(value: Any) -> Any:
    """A path of Python as its text; anything else as it is. For fields, before they are checked."""
    return str(value) if isinstance(value, Path) else value


def documented(cls: type[Config]) -> str:
    """The fields of a request with their defaults and help, as lines of a docstring."""
    lines = []
    for name, info in cls.model_fields.items():
        default = "" if info.is_required() else f" (default {info.get_default(call_default_factory=True)!r})"
        lines.append(f"    {name}{default}: {info.description}")
    return "\n".join(lines)


def argument_of(info: FieldInfo) -> Argument:
    """How a field stands on the command line."""
    return next((item for item in info.metadata if isinstance(item, Argument)), Argument())


def kind_of(info: FieldInfo) -> str:
    """What a field holds: `flag`, `int`, `float`, `path`, `text`, `names` (joined by commas), `paths` (one option each)
    or `table` (KEY=VALUE, one option each)."""
    options = [part for part in _parts(info.annotation) if part is not type(None)]
    first = options[0]
    if get_origin(first) is tuple:
        return "paths" if Path in get_args(first) else "names"
    if get_origin(first) is dict or first is dict:
        return "table"
    if len(options) > 1:
        return "text"
    return {bool: "flag", int: "int", float: "float", Path: "path"}.get(first, "text")


def _parts(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The entries of nested tables, with keys joined by dots."""
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def check_table(name: str, value: Any, depth: int = 0) -> None:
    """Raises ValueError for a value that files and the command line cannot hold; name: how the message calls it."""
    if depth > DEEPEST:
        raise ValueError(f"{name.partition('.')[0]} is a table that is nested more than {DEEPEST} times")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"a key in {name} is a text, not {key!r}")
            check_table(f"{name}.{key}", item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            check_table(name, item, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is {value}; give a finite number")
    elif type(value) not in (bool, int, float, str):
        shown = _shown(value)
        raise ValueError(f"{name} is a number, a text, true or false, or a list or table of these, not {shown}")
    else:
        _check_values(name, value)


def _check_values(name: str, value: Any) -> None:
    """Raises ValueError for texts and numbers, also in a list, that TOML and records of runs cannot hold."""
    for item in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(item, (str, Path)) and not is_text(str(item)):
            raise ValueError(f"{name} is {ascii(str(item))[:80]}, which is no text in UTF-8; rename it")
        if isinstance(item, int) and not is_whole(item):
            raise ValueError(f"{name} is a whole number of more than 64 bits")


def _words(flag: str, value: Any, kind: str) -> Iterator[str]:
    if kind == "flag":
        yield flag
    elif kind == "table":
        for key, item in flatten(value):
            yield from (flag, f"{key}={item if isinstance(item, str) and not _reads_as_toml(item) else _toml(item)}")
    elif kind == "paths":
        for item in value:
            yield from (flag, str(item))
    else:
        yield from (flag, ",".join(map(str, value)) if kind == "names" else str(value))


def _reads_as_toml(text: str) -> bool:
    """Whether a text would be read as something else than itself in KEY=VALUE, such as `3` or `true`."""
    try:
        return bool(parse_toml(f"value = {text}"))
    except tomllib.TOMLDecodeError:
        return False
    except ValueError:  # what no option can say
        return True


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def _key(key: str) -> str:
    bare = key and all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in key)
    return key if bare else json.dumps(key, ensure_ascii=False)


KINDS = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "dict": "a table of KEY=VALUE",
    "tuple": "a list",
    "path": "a path",
    "literal": "{expected}",
}
"""What a field takes, by the beginning of pydantic's name of the error."""


def _problem(cls: type[Config], error: ValidationError, where: str) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        text = _unknown(cls, name)
    elif first["type"] == "missing":
        text = f"{name} is not given"
    else:
        shown = _shown(first.get("input"))
        own = first["msg"].removeprefix("Value error, ")
        kind = next((KINDS[key] for key in KINDS if first["type"].startswith(key)), None)
        if kind:
            text = f"{name} is {kind.format(**first.get('ctx', {}))}, not {shown}"
        else:
            text = own if own != first["msg"] else f"{name}: {own[0].lower()}{own[1:]}, not {shown}"
    return f"{where}: {text}" if where else text


def _shown(value: Any) -> str:
    """A value of somebody's for a message: the beginning of its repr, on one line."""
    try:
        return " ".join(repr(value).split())[:80]
    except (RecursionError, ValueError):  # nested without end, or a number of thousands of digits
        return "this value"


def _unknown(cls: type[Config], name: str) -> str:
    hint = did_you_mean(name, cls.model_fields, most=2) or f"it has {', '.join(cls.model_fields)}"
    return f"{name!r} is no field of {cls.__name__}; {hint}"
