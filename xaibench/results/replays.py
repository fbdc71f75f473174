"""Records of replays (`xaibench validate SUBMISSION --replay N --record FILE`), read strictly, since they come from
others; and what they say of each result of a board."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xaibench.errors import XaibenchError
from xaibench.files import read_json
from xaibench.results.records import Count, Key, Name, Number

LIMIT = 256 << 20  # bytes
ROWS = 1_000_000  # of a record
MADE_BY = "`xaibench validate SUBMISSION --replay N --record FILE` writes"
VERIFIED = "verified by replay"
NOT_PUBLIC = "replayed, weights are not public"
NOT_REPLAYED = "not replayed"
DIFFERENCES = "replay found differences"
OWN = "own run of the board"
"""What can be said of a result of a board, one of these five."""

Sum = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FRESH = r"[0-9a-f]{32,128}"
Fresh = Annotated[str, Field(pattern=f"^{FRESH}$")]
Version = Annotated[str, Field(pattern=r"^[0-9A-Za-z.+-]{1,64}$")]
Share = Annotated[str, Field(pattern=r"^0\.[0-9]{1,4}$")]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Strict(BaseModel):
    """Types are as JSON writes them; what this version does not know is an error, as `format_version` tells it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class ReplayedRow(_Strict):
    """One row that was drawn, with both numbers; None: the score is undefined, or this side has no such row."""

    cell: Key
    image_id: Name
    target: Annotated[int, Field(ge=0, le=2**31)] | None
    unit: Name
    metric: Name
    submitted: Number | None
    replayed: Number | None
    equal: bool


class ReplayedResult(_Strict):
    """One result of the submission, by the key of its cell."""

    method: Name
    results: Count
    """On how many images it is."""
    replayed: Count
    """How many of them were drawn."""
    minimum: Count
    """How many have to be, for it to be verified."""
    public_weights: bool
    """Whether its weights are those that the model's card publishes."""
    verified: bool


class Minimum(_Strict):
    """How much of a result is enough: a forgery of this share of it is found with this probability."""

    share: Annotated[float, Field(gt=0, le=1)]
    probability: Annotated[float, Field(gt=0, lt=1)]


class Replay(_Strict):
    """The record of a replay of one submission."""

    format: Literal["xaibench-replay"]
    format_version: Annotated[int, Field(ge=1, le=1)]
    xaibench: Version
    submission: Sum
    """The name of the submission: the SHA-256 of its `submission.json`."""
    fresh: Fresh
    """What was drawn after the submission came; with its name it gives the seed of the draw."""
    fresh_source: Literal["drawn", "given"]
    """Whether it was drawn by whoever replayed, or is a public number of others."""
    asked: Annotated[int, Field(ge=1, le=10**8)] | Literal["all"]
    results: Annotated[int, Field(ge=1, le=10**9)]
    """How many results, each a method on an image, the submission has."""
    replayed: Annotated[int, Field(ge=0, le=10**9)]
    tolerance: Annotated[float, Field(gt=0, lt=1)]
    equal: bool
    """Whether all rows are equal."""
    cells: Annotated[dict[Key, ReplayedResult], Field(min_length=1, max_length=20_000)]
    minimum: Minimum
    found: Annotated[dict[Share, Probability], Field(max_length=20)]
    """By the share of results that are forged how likely at least one of them was drawn."""
    rows: Annotated[list[ReplayedRow], Field(max_length=ROWS)]

    @cached_property
    def differing(self) -> Counter[str]:
        """How many rows of each result were not equal."""
        return Counter(row.cell for row in self.rows if not row.equal)


def read_replay(path: Path) -> Replay:
    """The record in a file; raises XaibenchError, in one line, where it is no record of a replay."""
    if not path.is_file():
        raise XaibenchError(f"{path} is no file; {MADE_BY} the record of a replay")
    value = read_json(path, LIMIT)
    version = value.get("format_version") if isinstance(value, dict) else None
    if isinstance(version, int) and version > 1:
        raise XaibenchError(f"{path} has format {version}, newer than 1 of this xaibench; update it")
    try:
        return Replay.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part)[:80] for part in first["loc"])
        raise XaibenchError(f"{path} is no record of a replay ({place!a}: {first['msg']}); {MADE_BY} one") from None


def state_of(key: str, records: Iterable[Replay], brought: Mapping[str, str]) -> str:
    """What is said of a result: one of the five texts above.

    A replay of fewer images than the least number counts as none. records: all of the board. brought: by the key of a
    result the submission that brought it to the board. A difference counts wherever it was found: for the result that
    has it, and for all that this submission brought.
    """
    own = [record for record in records if key in record.cells]
    of_its_submission = [record for record in own if brought.get(key) == record.submission]
    if any(record.differing[key] for record in own):
        return DIFFERENCES
    if any(not record.equal for record in of_its_submission):
        return DIFFERENCES
    if any(record.cells[key].verified for record in own):
        return VERIFIED
    enough = [record.cells[key] for record in own if record.cells[key].replayed >= record.cells[key].minimum]
    if any(not one.public_weights for one in enough):
        return NOT_PUBLIC
    return NOT_REPLAYED if key in brought else OWN
