"""`board.json`: what a board folder holds, checked when it is read, since folders come from others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from xaibench.errors import XaibenchError
from xaibench.files import check_regular, read_json
from xaibench.results.records import VALUES, Count, Key, Name, Text
from xaibench.results.replays import Sum

FILE = "board.json"
FORMAT, FORMAT_VERSION = "xaibench-board", 3
LIMIT = 64 << 20  # bytes


def _inside(text: str) -> str:
    if any(part in ("", ".", "..") for part in text.split("/")):
        raise ValueError("it leads out of the folder")
    return text


RelativePath = Annotated[str, Field(max_length=400, pattern=r"^[A-Za-z0-9_./-]+$"), AfterValidator(_inside)]
Version = Annotated[int, Field(ge=1, le=100_000)]


def _reason(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part)[:80] for part in first["loc"])
    return " ".join(f"{place}: {first['msg']}".split())[:300]


class _Strict(BaseModel):
    """Types are as JSON writes them; what this version does not know is an error, as `format_version` tells it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    @classmethod
    def made(cls, **fields: Any) -> Self:
        """One of texts that were given; raises XaibenchError where a text is longer than `board.json` may hold."""
        try:
            return cls(**fields)
        except ValidationError as error:
            raise XaibenchError(f"{_reason(error)}; give another text") from None


class BoardEntry(_Strict):
    """One board: methods that may be compared with each other."""

    key: Key
    """The key of the board: 16 hex digits over everything that its methods share."""
    protocol: Name
    model: Name
    """Names of protocol and model; the empty name stands for none."""
    dataset: Name
    """The data set with its settings, such as `critters (64 px)`: the name under which `images` has its photos."""
    title: Text
    age: Text = ""
    """What newer versions of cards there were when this was published, "" for none."""
    metric: Name
    higher_is_better: bool | None
    """None where neither end is better."""
    images: Count
    """The length of the image list."""
    image_list: Key
    """The image list, `lists/<image_list>.json`."""
    cells: Annotated[list[Key], Field(min_length=1, max_length=VALUES)]
    """The keys of its results, `cells/<cell>.json` and `rows/<protocol>/<model>/<cell>.parquet`."""
    rows: RelativePath
    """The folder of its rows."""
    gallery: Annotated[list[Text], Field(max_length=VALUES)] = []
    """The images whose maps are in `maps/`."""
    csv: RelativePath
    json_: Annotated[RelativePath, Field(alias="json")]
    markdown: RelativePath
    figure: RelativePath


class ComparisonEntry(_Strict):
    """One comparison of designs, as `xaibench compare` printed it."""

    name: Name
    title: Text
    json_: Annotated[RelativePath, Field(alias="json")]


class WithdrawnEntry(_Strict):
    """A board, or a method of a board, that was withdrawn: what it was, why, and where its rows are."""

    board: Key
    method: Text | None = None
    """None: the whole board."""
    protocol: Name
    model: Name
    dataset: Name
    title: Text
    reason: Name
    last: Version
    """The last version that has it."""


class WithdrawnComparison(_Strict):
    """A comparison that was withdrawn: what it was, and why."""

    name: Name
    title: Text
    content: Key
    """The digest of what it said, which is not published again; one that was computed anew may be."""
    reason: Name
    last: Version
    """The last version that has it."""


class SubmissionEntry(_Strict):
    """A submission of others (`xaibench submit`)."""

    submission: Sum
    """Its name: the SHA-256 of its `submission.json`."""
    methods: Annotated[list[Name], Field(min_length=1, max_length=1000)]
    """The methods that it brought."""
    cells: Annotated[list[Key], Field(max_length=VALUES)]
    """The keys of the results that it brought, and that nobody else has run for this board."""
    replays: Annotated[list[Sum], Field(max_length=1000)] = []
    """The SHA-256 of the records of its replays, `replays/<SHA-256>.json`, oldest first; all are kept."""


class VersionEntry(_Strict):
    """An earlier version: its index, and the folder with all of its files that later versions do not have."""

    version: Version
    index: RelativePath
    boards: Count
    results: Count
    """The number of its boards, and of methods on them."""


class Index(_Strict):
    """What a board folder holds."""

    format: Literal["xaibench-board"]
    format_version: Literal[1, 2, 3]
    """From 2 on `SHA256SUMS` lists the files, and comparisons may be withdrawn; from 3 on there are submissions. A
    folder without any is written as 2, which earlier versions of xaibench read."""
    version: Version
    """The number of this version, from 1."""
    xaibench: Text
    """The version of xaibench that wrote it."""
    title: Name
    license: Name
    boards: Annotated[list[BoardEntry], Field(max_length=VALUES)]
    comparisons: Annotated[list[ComparisonEntry], Field(max_length=VALUES)] = []
    images: Annotated[dict[Text, dict[Text, RelativePath]], Field(max_length=VALUES)] = {}
    """By data set and image id the photo, where the data set's card says that it may be redistributed."""
    versions: Annotated[list[VersionEntry], Field(max_length=VALUES)] = []
    """The earlier versions, oldest first."""
    withdrawn: Annotated[list[WithdrawnEntry], Field(max_length=VALUES)] = []
    withdrawn_comparisons: Annotated[list[WithdrawnComparison], Field(max_length=VALUES)] = []

    submissions: Annotated[list[SubmissionEntry], Field(max_length=VALUES)] = []
    """What others submitted, oldest first; also what was withdrawn or replaced since."""

    def paths(self) -> list[str]:
        """Every file that it names."""
        boards = [path for one in self.boards for path in (one.csv, one.json_, one.markdown, one.figure)]
        photos = [path for found in self.images.values() for path in found.values()]
        replays = [f"replays/{name}.json" for one in self.submissions for name in one.replays]
        others = [*replays, *(one.json_ for one in self.comparisons), *(one.index for one in self.versions)]
        return [*boards, *photos, *others, *(f"cells/{key}.json" for one in self.boards for key in one.cells)]


def is_board_folder(root: str | Path) -> bool:
    """Whether a folder has the index of a board folder."""
    return (Path(root) / FILE).is_file()


def read_index(root: str | Path) -> Index:
    """The index of a board folder.

    Raises XaibenchError in one line where there is none, where it is of a newer xaibench, where a field is not what it
    may be, and where a file that it names is missing or leads elsewhere.
    """
    root = Path(root)
    if not is_board_folder(root):
        raise XaibenchError(
            f"{root} is no board folder (it has no {FILE}); `xaibench publish RESULTS --to DIR` makes one"
        )
    value = read_json(root / FILE, LIMIT)
    version = value.get("format_version") if isinstance(value, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise XaibenchError(
            f"{root / FILE} has format {version}, newer than {FORMAT_VERSION} of this xaibench; update it"
        )
    try:
        index = Index.model_validate(value)
    except ValidationError as error:
        raise XaibenchError(
            f"{root / FILE} is not the index of a board folder: {_reason(error)}; publish it again"
        ) from None
    for path in index.paths():
        try:
            check_regular(root / path)
        except OSError as error:
            raise XaibenchError(
                f"{root} lacks {path}, which its {FILE} names; fetch it anew, or publish to a new folder"
            ) from error
    return index
