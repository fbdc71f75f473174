"""`submission.json`: what a submission holds, with the SHA-256 of every other file of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xaibench import __version__
from xaibench.errors import XaibenchError
from xaibench.files import read_json, write_json
from xaibench.hashing import sha256_of
from xaibench.submission.archive import FILE

FORMAT, FORMAT_VERSION = "xaibench-submission", 1
Sum = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Version = Annotated[str, Field(pattern=r"^[0-9A-Za-z.+-]{1,64}$")]
MethodName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}$")]
SourceName = Annotated[str, Field(pattern=r"^source/(methods/)?[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\.(py|toml)$")]


class Submission(BaseModel):
    """What a submission holds."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    format: Literal["xaibench-submission"]
    format_version: Annotated[int, Field(ge=1, le=1)]
    xaibench: Version
    """The version of xaibench that packed it."""
    methods: Annotated[list[MethodName], Field(min_length=1, max_length=1000)]
    """The methods that it brings."""
    card: SourceName
    """Their card, or the plug-in file that registers them."""
    files: Annotated[dict[str, Sum], Field(min_length=1, max_length=20_000)]
    """The SHA-256 of every other file by its name."""

    @property
    def foreign(self) -> frozenset[str]:
        """The names of the methods whose code is not that of xaibench."""
        return frozenset(self.methods)


def write_submission(root: Path, methods: list[str], card: str) -> None:
    """Writes `submission.json` into a folder that holds all other files."""
    files = {path.relative_to(root).as_posix(): sha256_of(path) for path in sorted(root.rglob("*")) if path.is_file()}
    made = Submission(format="xaibench-submission", format_version=1, xaibench=__version__, methods=sorted(methods),
                      card=card, files=files)  # fmt: skip
    write_json(root / FILE, made.model_dump(mode="json"))


def read_submission(root: Path) -> Submission:
    """What an unpacked submission holds; raises XaibenchError where a file is not the one that it lists."""
    try:
        found = Submission.model_validate(read_json(root / FILE))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part)[:80] for part in first["loc"])
        raise XaibenchError(f"{FILE}: {place!a}: {first['msg']}; pack it again by `xaibench submit`") from None
    there = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    there.pop(FILE)
    if odd := sorted(there.keys() ^ found.files.keys()):
        state = "is not listed" if odd[0] in there else "is missing"
        raise XaibenchError(f"{ascii(odd[0])[:120]} {state}, compared with {FILE}; pack it again by `xaibench submit`")
    for name, path in there.items():
        if sha256_of(path) != found.files[name]:
            raise XaibenchError(f"{name} was changed after it was packed; pack it again by `xaibench submit`")
    if found.card not in found.files:
        raise XaibenchError(f"{FILE}: it lacks {found.card}, the card of its methods")
    return found


def submission_hash(root: Path) -> str:
    """The SHA-256 of `submission.json`, which lists that of every other file: the name of a submission."""
    return sha256_of(root / FILE)
