"""Masks of a data set's images in Parquet: a row for each image, and a header that records how they were made."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ConfigDict, Field, TypeAdapter

from xaibench.datasets.walk import is_hidden
from xaibench.errors import XaibenchError
from xaibench.files import plain, write_atomic
from xaibench.hashing import digest
from xaibench.masks.rle import decode, digest_of
from xaibench.parsing import parse_json

HEADER_KEY = b"xaibench.masks"
VERSION = 1
MOST_SIDE, MOST_PIXELS = 4096, 1 << 33  # of a mask; of all masks of an image, a byte each
MOST_ROWS = 4_000_000  # of a file
SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("image_digest", pa.string(), nullable=False),  # of the image's source, as in stored rows
        pa.field("masks", pa.int32(), nullable=False),  # how many; 0 where the image has none
        pa.field("dropped", pa.int32(), nullable=False),  # masks below the smallest area
        pa.field("digest", pa.string(), nullable=False),  # of the counts
        pa.field("counts", pa.list_(pa.list_(pa.int32())), nullable=False),
    ]
)
INDEX = SCHEMA.names[:-1]


@dataclass(frozen=True)
class Header:
    """How masks were made: everything that can change one, except which image.

    maker names the level of objects that they become; settings are the maker's; weights: the digest of its network's,
    "" for none; packages: versions of the packages that it uses; dataset: name, version, source, settings and geometry;
    side: height and width of the masks, those of displayed images. label describes maker and network.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # of `read`

    maker: str
    settings: dict[str, Any]
    dataset: dict[str, Any]
    side: Annotated[int, Field(ge=1, le=MOST_SIDE)]
    weights: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    label: str = ""

    @property
    def key_fields(self) -> dict[str, Any]:
        """The part of keys of results; the digests of images cover the masks themselves."""
        return {
            "maker": self.maker, "settings": self.settings, "weights": self.weights, "packages": self.packages,
        }  # fmt: skip

    @property
    def key(self) -> str:
        """16 hex digits that differ from those of masks with other settings or of another data set."""
        return digest(self.key_fields | {"dataset": self.dataset})

    @classmethod
    def read(cls, path: Path) -> Header:
        """The header of a Parquet file; raises XaibenchError for a file that is not one of masks."""
        if not path.is_file():
            raise XaibenchError(f"{path} is no regular file; move it away")
        try:
            with pq.ParquetFile(path) as file:
                schema, rows = file.schema_arrow, file.metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            raise XaibenchError(
                f"{path} is not a whole Parquet file of masks; remove it and make them again by `xaibench masks make`"
            ) from error
        try:
            content = parse_json((schema.metadata or {})[HEADER_KEY])
            version = content.pop("version")
            if version > VERSION:
                raise XaibenchError(f"{path} has masks of version {version}, newer than {VERSION}; update xaibench")
            header = TypeAdapter(cls).validate_json(json.dumps(content), strict=True)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise XaibenchError(f"{path} is Parquet, but not of masks; make some by `xaibench masks make`") from error
        if not schema.equals(SCHEMA, check_metadata=False):
            raise XaibenchError(f"{path} has other columns than masks: {', '.join(schema.names)}")
        if rows > MOST_ROWS:
            raise XaibenchError(f"{path} has masks of {rows} images, more than any data set has; make them again")
        return header


@dataclass(frozen=True)
class Entry:
    """The record of an image's masks, without the masks: the file, the digests of the image and of the masks, how many
    there are, and how many were dropped for their size."""

    path: Path
    image_digest: str
    digest: str
    masks: int
    dropped: int


class Masks:
    """Masks in Parquet, at `path`: a file, or a folder of such files (all with the same header).

    entries are the records of images by id. Raises XaibenchError where there are none, and for other files.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        files = mask_files(self.path) if self.path.is_dir() else [self.path]
        if not files or not files[0].is_file():
            raise XaibenchError(f"no masks in {path}; make some by `xaibench masks make --out {path}`")
        self.header = Header.read(files[0])
        self.entries: dict[str, Entry] = {}
        for file in files:
            if Header.read(file) != self.header:
                raise XaibenchError(
                    f"{files[0]} and {file.name} have masks that were made in different ways; separate them"
                )
            columns = _read(file, INDEX).to_pydict().values()
            for image_id, image_digest, masks, dropped, named in zip(*columns, strict=True):
                if image_id in self.entries:
                    raise XaibenchError(f"{self.entries[image_id].path} and {file.name} both have masks of {image_id}")
                self.entries[image_id] = Entry(file, image_digest, named, masks, dropped)
        self._latest: tuple[Path, dict[str, list[list[int]]]] | None = None

    def load(self, image_id: str) -> np.ndarray:
        """The masks of an image, (N, side, side) bool; raises XaibenchError where it has no row, or a damaged one."""
        entry = self.entries.get(image_id)
        if entry is None:
            raise XaibenchError(f"{self.path} has no masks of {image_id}")
        if self._latest is None or self._latest[0] != entry.path:  # images come in the order of the files
            table = _read(entry.path, ["image_id", "counts"])
            self._latest = entry.path, dict(zip(table["image_id"].to_pylist(), table["counts"], strict=True))
        counts = self._latest[1][image_id].as_py()
        if digest_of(counts) != entry.digest:
            raise XaibenchError(f"{entry.path} was changed: the masks of {image_id} have another digest; restore it")
        if len(counts) * self.header.side**2 > MOST_PIXELS:
            raise XaibenchError(f"{entry.path}: {image_id} has {len(counts)} masks, more than fit; make them again")
        try:
            return decode(counts, (self.header.side, self.header.side))
        except ValueError as error:
            raise XaibenchError(f"{entry.path}: {image_id}: {error}") from error


def mask_files(folder: Path) -> list[Path]:
    """The files of masks in a folder; hidden ones are those of an operating system."""
    return sorted(path for path in folder.glob("*.parquet") if not is_hidden(path.name))


def row(image_id: str, image_digest: str, counts: list[list[int]], dropped: int) -> dict[str, Any]:
    """The row of an image: its masks as run lengths, and how many were dropped."""
    return {
        "image_id": image_id, "image_digest": image_digest, "masks": len(counts), "dropped": dropped,
        "digest": digest_of(counts), "counts": counts,
    }  # fmt: skip


def add_rows(path: Path, header: Header, rows: Iterable[dict[str, Any]], order: dict[str, int]) -> None:
    """Adds rows to a file, in place of those of the same images, completely or not at all.

    order: the place of each image. The same rows make the same file, in however many steps they are added.
    """
    known = {known["image_id"]: known for known in (_read(path, SCHEMA.names).to_pylist() if path.exists() else ())}
    known |= {new["image_id"]: new for new in rows}
    ordered = sorted(known.values(), key=lambda row: (order.get(row["image_id"], len(order)), row["image_id"]))
    text = json.dumps(plain({"version": VERSION} | asdict(header)), sort_keys=True)
    table = pa.Table.from_pylist(ordered, schema=SCHEMA.with_metadata({HEADER_KEY: text.encode()}))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomic(path, buffer.getvalue())


def _read(path: Path, columns: list[str]) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise XaibenchError(f"{path} cannot be read; remove it and make its masks again") from error
