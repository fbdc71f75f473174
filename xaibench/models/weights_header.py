"""What the header of a file of weights may say: it is checked when it is read, since files come from others."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xaibench.cards import Alignment
from xaibench.errors import one_line
from xaibench.parsing import parse_json

Name = Annotated[str, Field(max_length=4096)]


class TaskHeader(BaseModel):
    """The task of a training, with its parameters."""

    model_config = ConfigDict(extra="allow", strict=True)

    name: Name


class WeightsHeader(BaseModel):
    """The fields that readers use; further ones may be there."""

    model_config = ConfigDict(extra="allow", strict=True)

    model: Name = ""
    model_card: dict[Name, Any] = {}
    dataset: Name = ""
    train: dict[Name, Any] = {}
    geometry: dict[Name, Any] = {}
    recipe: dict[Name, Any] = {}
    alignment: Alignment | None = None
    seed: int = 0
    task: TaskHeader | None = None
    classes: list[Name] | None = None
    metrics: dict[Name, float | None] = {}
    monitor: Name = "accuracy"
    epoch: dict[Name, float | None] = {}


def parse_header(text: str) -> dict[str, Any]:
    """The header in a text of JSON, as it is there; raises ValueError, on one line, where a field is of another kind.

    NaN and infinities, which a training that diverged has among its metrics, are allowed.
    """
    value = parse_json(text, finite=False)
    try:
        WeightsHeader.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part)[:80] for part in first["loc"])
        raise ValueError(one_line(f"its header, {place or 'as a whole'}: {first['msg']}", 300)) from None
    return value
