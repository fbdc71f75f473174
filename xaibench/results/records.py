"""What the JSON of a results folder may hold: everything is checked when it is read, since folders come from others.

Every name, number and nesting has a limit, far beyond what xaibench writes. Fields that a newer xaibench may add are
kept where they are plain JSON within the same limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from xaibench.errors import XaibenchError, one_line
from xaibench.files import read_json
from xaibench.parsing import is_text

BYTES, LIST_BYTES = 16 << 20, 512 << 20  # of a cell or the record of a run, and of a list of images
DEPTH, VALUES, TEXT = 12, 200_000, 4096  # of a record: nested parts, values in all, characters of a name
COMMAND = 1 << 18  # characters
WHOLE = 2**53  # the largest whole number that JSON keeps exact

Record = TypeVar("Record")


def _is_time(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Key = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Name = Annotated[str, Field(min_length=1, max_length=TEXT)]
Text = Annotated[str, Field(max_length=TEXT)]
Words = Annotated[str, Field(max_length=COMMAND)]
Time = Annotated[str, Field(max_length=64), AfterValidator(_is_time)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=WHOLE)]
ImageIds = Annotated[list[Name], Field(min_length=1)]
Names = Annotated[list[Text], Field(max_length=VALUES)]


class _Strict(BaseModel):
    """Types are as JSON writes them: no text is taken for a number."""

    model_config = ConfigDict(extra="allow", strict=True)


class Metric(_Strict):
    """How a metric is read: its range, its better end, and what an undefined map costs."""

    range: Annotated[list[Number | None], Field(min_length=2, max_length=2)] | None = None
    higher_is_better: bool | None = None
    undefined_cost: Number | None = None


class _Part(_Strict):
    """A named part of a context."""

    name: Name
    version: Annotated[int, Field(ge=1, le=10**6)] = 1
    label: Text | None = None
    settings: dict[Text, Any] | None = None


class Protocol(_Part, Metric):
    """The protocol of a context."""

    metric: Name | None = None
    further: dict[Name, Metric] | None = None


class Weights(_Strict):
    """The weights of a context."""

    label: Text | None = None
    kind: Text | None = None


class Context(_Strict):
    """What the results of several methods share."""

    protocol: Protocol
    dataset: _Part | None = None
    model: _Part | None = None
    weights: Weights | None = None
    profile: _Part | None = None
    reference: _Part | None = None
    seed: Annotated[int, Field(ge=-WHOLE, le=WHOLE)] | None = None
    precision: Name | None = None


class Method(_Part):
    """The method of a cell."""

    kind: Text | None = None
    parameters: dict[Text, Any] = {}


class CellRecord(_Strict):
    """The file of a cell, `cells/<key>.json`."""

    context: Context
    method: Method | None
    registered: Time | None = None
    maps: Key | None = None


class ImageList(_Strict):
    """Which images a run has."""

    list: Key | None = None
    count: Count = 0


class Accuracy(_Strict):
    """How many images a model gets right."""

    correct: Count
    images: Count


class MethodCosts(_Strict):
    """What the maps of a method cost in a run: on how many images with how many maps (a map for each explained class)
    it was measured, and means per image of forward-equivalents and seconds, alone and as its share of what methods
    share (`xaibench.attribution.costs`)."""

    images: Annotated[int, Field(ge=1, le=WHOLE)]
    maps: Annotated[int, Field(ge=1, le=WHOLE)]
    forward_equivalents_alone: Amount
    forward_equivalents_shared: Amount
    seconds_alone: Amount
    seconds_shared: Amount


class Stop(_Strict):
    """What a run with --until-stable asked for and found."""

    listed: Count
    confidence: Number
    margin: Number | None = None
    looks: Count = 0
    failed: Names = []
    protocols: dict[Text, dict[Text, Any]] = {}


class RunRecord(_Strict):
    """The record of a run, `runs/<run>.json`; what it says of the request and of accuracy may be that of a newer
    xaibench, which readers then leave out."""

    run: Annotated[str, Field(pattern=r"^[0-9A-Za-z._-]{1,80}$")]
    command: Words
    status: Annotated[str, Field(max_length=40)]
    cells: Annotated[list[Key], Field(max_length=VALUES)]
    images: ImageList
    config: Any = None
    whole: Words | None = None
    objects: Names = []
    protocols: Names = []
    boards: Annotated[list[Key], Field(max_length=VALUES)] = []
    classes: Names = []
    started: Time = "1970-01-01T00:00:00+00:00"
    finished: Time | None = None
    seconds: Number | None = None
    versions: dict[Text, Text | None] = {}
    git_commit: Text | None = None
    device: Text | None = None
    precision: Text | None = None
    arithmetic: Text | None = None
    batch_size: Count | None = None
    chunk_size: Count | None = None
    workers: Count | None = None
    accuracy: Any = None
    forward_equivalents: Number | None = None
    costs: Annotated[dict[Text, MethodCosts], Field(max_length=VALUES)] = {}
    training: dict[Text, Any] | None = None
    fitted: dict[Key, dict[Text, Number]] = {}
    masks: dict[Text, Any] | None = None
    stop: Stop | None = None
    warnings: Annotated[list[Words], Field(max_length=VALUES)] = []
    skipped: dict[Text, Words] = {}


def is_record(value: Any, kind: Any) -> bool:
    """Whether a plain value is a `kind`."""
    return _fault(value, kind) is None


def read_record(path: Path, kind: type[Record], what: str, limit: int = BYTES) -> Any:
    """The JSON value in a file of a results folder, if it is a `kind` within the limits; what: the words for messages,
    such as `a cell`.

    Raises XaibenchError that names the file and the first field that is wrong.
    """
    value = read_json(path, limit)
    fault = next(_excess(value), None) or _fault(value, kind)
    if fault:
        raise XaibenchError(
            f"{path} is not {what}: {fault}; `xaibench validate {path.parent.parent}` lists what is wrong"
        )
    return value


def _fault(value: Any, kind: Any) -> str | None:
    """The first thing in which a value is not a `kind`, as `field: reason`."""
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part)[:80] for part in first["loc"])
        return one_line(f"{place}: {first['msg']}" if place else first["msg"], 300)
    return None


def _excess(value: Any, depth: int = 0, seen: list[int] | None = None) -> Iterator[str]:
    """What goes beyond the limits that hold for all JSON of a folder."""
    seen = [0] if seen is None else seen
    seen[0] += 1
    if depth > DEPTH:
        yield f"it is nested more than {DEPTH} deep"
    elif seen[0] > VALUES:
        yield f"it has more than {VALUES} values"
    elif isinstance(value, dict):
        for key, item in value.items():
            if len(key) > TEXT:
                yield f"it has a name of {len(key)} characters"
            yield from _excess(item, depth + 1, seen)
    elif isinstance(value, list):
        for item in value:
            yield from _excess(item, depth + 1, seen)
    elif isinstance(value, str) and len(value) > COMMAND:
        yield f"it has a text of {len(value)} characters"
    elif isinstance(value, str) and not is_text(value):
        yield f"it has a text that is no Unicode: {value[:40]!r}"
    elif isinstance(value, int) and abs(value) > WHOLE:
        yield "it has a number of more than 53 bits"
