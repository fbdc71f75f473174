"""The rows that the process of a replay gives: read strictly, since code of others ran in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from xaibench.errors import XaibenchError
from xaibench.files import read_json
from xaibench.results.records import Key, Name, Number
from xaibench.results.replays import LIMIT, ROWS
from xaibench.results.schema import STATUSES

Class = Annotated[int, Field(ge=0, le=2**31)]


class Computed(BaseModel):
    """A row that was computed again; fields as in `results.schema`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    cell: Key
    image_id: Name
    target: Class | None
    unit: Name
    metric: Name
    score: Number | None
    status: Literal[STATUSES]
    prediction: Class | None
    label: Class | None
    correct: bool | None


COLUMNS = tuple(Computed.model_fields)
_ROWS: TypeAdapter[list[Computed]] = TypeAdapter(Annotated[list[Computed], Field(max_length=ROWS)])


def read_computed(path: Path, wanted: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    """The rows in the file that the process wrote; wanted: image ids by result key, of which all rows are.

    Raises XaibenchError where there is anything else.
    """
    try:
        rows = _ROWS.validate_python(read_json(path, LIMIT))
    except (ValidationError, XaibenchError) as error:
        raise XaibenchError("not replayed: its process gave something else than rows") from error
    if any(row.image_id not in wanted.get(row.cell, ()) for row in rows):
        raise XaibenchError("not replayed: its process gave rows that were not drawn")
    return [row.model_dump() for row in rows]
