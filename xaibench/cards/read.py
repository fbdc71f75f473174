"""Reads cards, TOML files in `registry/<plural of the kind>/`; a mistake is one line with file, line and field."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import ValidationError

from xaibench.cards.comparison import ComparisonCard
from xaibench.cards.dataset import DatasetCard
from xaibench.cards.method import MethodCard
from xaibench.cards.model import ModelCard
from xaibench.cards.part import Card
from xaibench.cards.protocol import ProtocolCard
from xaibench.cards.study import StudyCard
from xaibench.cards.training import LossCard, RecipeCard, ScheduleCard
from xaibench.errors import XaibenchError, one_line
from xaibench.files import read_bounded
from xaibench.parsing import parse_toml

CARD_TYPES: dict[str, type[Card]] = {
    card.kind: card
    for card in (
        MethodCard, ModelCard, DatasetCard, ProtocolCard, ComparisonCard, LossCard, ScheduleCard, RecipeCard,
        StudyCard,
    )
}  # fmt: skip
KINDS = tuple(CARD_TYPES)
MOST = 1 << 20  # bytes of a card


def read_card(kind: str, path: Path) -> Card:
    """The card in a TOML file, whose name (without .toml) is the card's name.

    Raises XaibenchError that names the file, the line and the field for anything that a card may not contain.
    """
    try:
        data = read_bounded(path, MOST)
        fields, text = parse_toml(data), data.decode("utf-8-sig")
    except OSError as error:
        raise XaibenchError(f"card {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise XaibenchError(f"{path}: not valid TOML: {one_line(error)}") from None
    if "\0" in str(fields.get("target", "")):
        raise XaibenchError(f"{path}:{_line_of(text, ['target'])}: target: it has a null character")
    file, colon, attribute = str(fields.get("target", "")).rpartition(":")
    if colon and file.endswith(".py"):
        fields["target"] = f"{(path.parent / file).resolve()}:{attribute}"
    try:
        return CARD_TYPES[kind].model_validate({"name": path.name.removesuffix(".toml"), **fields})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        line = _line_of(text, [str(part) for part in first["loc"]])
        reason = "no such field" if first["type"] == "extra_forbidden" else first["msg"]
        raise XaibenchError(f"{path}:{line}: {field}: {reason}; fields: {_field_names(kind)}") from None


def _line_of(text: str, location: list[str]) -> int:
    """The line (from 1) of the deepest named key of a location; 1 where it is missing."""
    for key in reversed(location):
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(rf"(^|[\s{{,\[.]){re.escape(key)}\s*[=.\]]", line.split("#")[0]):
                return number
    return 1


def _field_names(kind: str) -> str:
    return ", ".join(CARD_TYPES[kind].model_fields)
