"""A results folder: cells, rows, runs and image lists, safe when runs are killed, disks are full, or several runs write
at once."""

from __future__ import annotations

import io
import secrets
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from xaibench.errors import XaibenchError
from xaibench.files import check_folder, make_folder, plain, read_json, write_atomic, write_json
from xaibench.hashing import digest
from xaibench.leftovers import temporary
from xaibench.results.cells import Cell
from xaibench.results.records import LIST_BYTES, CellRecord, ImageIds, is_record, read_record
from xaibench.results.schema import IDENTITY, SCHEMA, SCHEMA_VERSION
from xaibench.results.shard_files import BATCH, check_batch, open_shard, reading, shard_batches

FOLDERS = ("rows", "cells", "runs", "lists")
FURTHER = ("maps", "locks", "figures")  # made when they are needed
NULLABLE = {pa.int32(): pd.Int32Dtype(), pa.bool_(): pd.BooleanDtype()}
SHARD = "__filename"  # the name pyarrow.dataset gives to the column with each row's file


class Store:
    """A results folder with rows/<shard>.parquet, cells/<key>.json, runs/<run>.json and lists/<hash>.json.

    Every file is written once, as a whole. All rows of a (cell, image) go into one shard, so an image is either done
    for a cell or not. Use `Store.create` to write and `Store.open` to read.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._versions: dict[Path, int] = {}
        self._cells_of: dict[Path, frozenset[str]] = {}

    @classmethod
    def create(cls, root: str | Path) -> Store:
        """The store at `root`, made if it does not exist; that it is writable is tested at once, before a long run.

        Raises XaibenchError when a file is in the way, the folder is read-only or the disk is full.
        """
        store = cls(root)
        store._check_folders()
        for folder in FOLDERS:
            make_folder(store.root / folder)
        probe = temporary(store.root / "rows" / "probe")
        write_atomic(probe, b"probe")
        probe.unlink()
        return store

    @classmethod
    def open(cls, root: str | Path) -> Store:
        """The store at `root`, for reading.

        Raises XaibenchError with advice if there is none, or where one of its folders is a file, or a link that leads
        out of it.
        """
        store = cls(root)
        if store.root.is_file():
            raise XaibenchError(f"{root} is a file, not a results folder; name a folder that `xaibench run` wrote")
        if not store.root.is_dir():
            raise XaibenchError(f"no results in {root}, which is not there; name a folder that `xaibench run` wrote")
        if not all((store.root / folder).is_dir() for folder in ("rows", "cells")):
            raise XaibenchError(
                f"{root} is not a results folder (it has no rows/ and cells/); name one that `xaibench run` wrote"
            )
        store._check_folders()
        return store

    def _check_folders(self) -> None:
        for folder in (*FOLDERS, *FURTHER):
            check_folder(self.root / folder)

    def register(self, cells: Iterable[Cell]) -> None:
        """Store the content that each key hashes. Known cells keep their date; changed labels are updated."""
        for cell in cells:
            path = self.root / "cells" / f"{cell.key}.json"
            since = datetime.now(UTC).isoformat()
            if path.exists():
                known = self.cell(cell.key)
                if (known.context, known.method, known.maps) == (plain(cell.context), plain(cell.method), cell.maps):
                    continue
                since = known.registered or since
            write_json(path, {"key": cell.key, "board": cell.board, "registered": since,
                              "context": cell.context, "method": cell.method}
                       | ({"maps": cell.maps} if cell.maps else {}))  # fmt: skip

    def cell(self, key: str) -> Cell:
        """The registered cell of a key; XaibenchError if there is none or its file cannot be read."""
        content = read_record(self.root / "cells" / f"{key}.json", CellRecord, "a cell")
        return Cell(content["context"], content["method"], content.get("registered"), content.get("maps"))

    def has_cell(self, key: str) -> bool:
        """Whether a cell of this key is registered."""
        return (self.root / "cells" / f"{key}.json").is_file()

    def cells(self) -> dict[str, Cell]:
        """All registered cells by key, oldest first."""
        cells = {path.stem: self.cell(path.stem) for path in sorted((self.root / "cells").glob("*.json"))}
        return dict(sorted(cells.items(), key=lambda item: item[1].registered or ""))

    def save_list(self, image_ids: Sequence[str]) -> str:
        """Store a list of image ids, in order, under its own hash, which is returned."""
        image_ids = list(image_ids)
        if len(set(image_ids)) != len(image_ids):
            raise ValueError("an image list contains an image twice")
        name = digest(image_ids)
        path = self.root / "lists" / f"{name}.json"
        if not path.exists():
            write_json(path, image_ids)
        return name

    def load_list(self, name: str) -> list[str]:
        """The image ids stored under a hash; XaibenchError if they are missing, no longer have that hash, or are no
        list of ids."""
        path = self.root / "lists" / f"{name}.json"
        image_ids = read_json(path, LIST_BYTES)
        if not is_record(image_ids, ImageIds) or len(set(image_ids)) != len(image_ids):
            raise XaibenchError(f"{path} is no list of images: it has something else than ids, or one id twice")
        if digest(image_ids) != name:
            raise XaibenchError(f"{path} was changed: its content has another hash; restore it or remove its runs")
        return image_ids

    def append(self, table: pa.Table) -> Path:
        """Store rows made by `row_table` as a new shard and return its path.

        The shard appears as a whole or not at all, under a name that no other process can have taken. Give all rows
        of a (cell, image) in one call. Raises XaibenchError when the disk is full or the folder read-only.
        """
        if not table.schema.equals(SCHEMA, check_metadata=True):
            raise ValueError("rows to store come from xaibench.results.schema.row_table")
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        path = self.root / "rows" / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}.parquet"
        write_atomic(path, buffer.getvalue())
        return path

    def shards(self, keys: Collection[str] | None = None) -> list[Path]:
        """The shards in the order in which they were written, without temporary files of killed runs; after them those
        that `xaibench publish` writes, `rows/<protocol>/<model>/<cell>.parquet`. Where keys are given, those alone that
        have rows of these cells."""
        runs, published = self._row_files
        if keys is None:
            return [*runs, *published]
        return [
            *(path for path in runs if self._may_have(path, keys)),
            *(path for path in published if path.stem in keys),
        ]

    @property
    def _row_files(self) -> tuple[list[Path], list[Path]]:
        """The files of rows that runs wrote, and those that `xaibench publish` wrote, each in order."""
        rows = self.root / "rows"
        return sorted(rows.glob("*.parquet")), sorted(rows.glob("*/*/*.parquet"))

    def done(self, keys: Iterable[str], shards: Sequence[Path] | None = None) -> dict[str, set[str]]:
        """For each cell key the ids of the images whose rows are stored, in all shards or in these."""
        done: dict[str, set[str]] = {key: set() for key in keys}
        names: dict[str, str] = {}  # one string per image id, however many cells have it
        for batch in self._batches(["cell", "image_id"], done, shards):
            pairs = pa.Table.from_batches([batch]).group_by(["cell", "image_id"]).aggregate([])
            for key, image_id in zip(pairs["cell"].to_pylist(), pairs["image_id"].to_pylist(), strict=True):
                done[key].add(names.setdefault(image_id, image_id))
        return done

    def has_rows(self, keys: Iterable[str]) -> bool:
        """Whether any row of these cells is stored."""
        return any(batch.num_rows for batch in self._batches(["cell"], keys))

    def explained(
        self, keys: Iterable[str], shards: Sequence[Path] | None = None
    ) -> dict[str, dict[str, frozenset[int]]]:
        """For each cell key and image id the targets that its rows are about, in all shards or in these; none where
        nothing is explained in an image."""
        targets: dict[str, dict[str, frozenset[int]]] = {key: {} for key in keys}
        known: dict[frozenset[int], frozenset[int]] = {}  # one object, however many images have the same targets
        columns = ["cell", "image_id", "target"]
        for batch in self._batches(columns, targets, shards):
            rows = pa.Table.from_batches([batch]).group_by(columns).aggregate([])
            for key, image_id, target in zip(*(rows[name].to_pylist() for name in columns), strict=True):
                if target is not None:
                    found = targets[key].get(image_id, frozenset()) | {target}
                    targets[key][image_id] = known.setdefault(found, found)
        return targets

    def digests(self, keys: Iterable[str]) -> dict[str, str]:
        """The content digest of each stored image, for cells of one data set.

        Raises XaibenchError when an image was stored with two contents.
        """
        digests: dict[str, str] = {}
        for batch in self._batches(["image_id", "image_digest"], set(keys)):
            pairs = pa.Table.from_batches([batch]).group_by(["image_id", "image_digest"]).aggregate([])
            for image_id, content in zip(*(pairs[name].to_pylist() for name in pairs.column_names), strict=True):
                if digests.setdefault(image_id, content) != content:
                    raise XaibenchError(
                        f"{self.root} has rows of two different images with the id {image_id}; "
                        "was the photo replaced? use another --out for the new one"
                    )
        return digests

    def rows(self, keys: Iterable[str] | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Stored rows of the given cells (default: all), without copies that simultaneous runs may have left.

        Of rows with the same identity in several shards those of the oldest shard are kept. `target`, `prediction` and
        `label` are nullable integers, `correct` is a nullable boolean, an undefined `score` is NaN. `columns` limits
        the columns that are read and returned.
        """
        columns = list(columns or SCHEMA.names)
        needed = list(dict.fromkeys([*columns, *IDENTITY]))
        keys = None if keys is None else set(keys)
        shards = self.shards(keys)
        places = pa.array(sorted(map(str, shards)), pa.string())
        fields = [*(SCHEMA.field(name) for name in needed), pa.field(SHARD, pa.int32())]
        batches = (_with_place(batch, places) for batch in self._batches([*needed, SHARD], keys, shards))
        table = pa.Table.from_batches(batches, schema=pa.schema(fields))
        return _without_copies(table, columns)

    def _batches(
        self, columns: list[str], keys: Iterable[str] | None, shards: Sequence[Path] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The stored rows in batches, projected and filtered while reading, older schemas upgraded on the way."""
        keys = None if keys is None else set(keys)
        selection = None if keys is None else ds.field("cell").isin(pa.array(sorted(keys), pa.string()))
        shards = self.shards(keys) if shards is None else [path for path in shards if self._may_have(path, keys)]
        old = [path for path in shards if self._version(path) != SCHEMA_VERSION]
        current = [str(path) for path in shards if path not in old]
        try:
            if current:
                source = ds.dataset(current, schema=SCHEMA, format="parquet")
                yield from map(check_batch, source.to_batches(columns=columns, filter=selection, batch_size=BATCH))
            for path in old:
                for batch in shard_batches(path):
                    table = pa.Table.from_batches([batch])
                    table = table if selection is None else table.filter(selection)
                    table = table.append_column(SHARD, pa.array([str(path)] * table.num_rows, pa.string()))
                    yield from table.select(columns).to_batches()
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, MemoryError):
                raise
            for path in shards:  # Arrow does not name the file; if all files can be read, the error has another cause
                with reading(path, self.root):
                    for _ in shard_batches(path):
                        pass
            raise

    def _may_have(self, path: Path, keys: Collection[str] | None) -> bool:
        """Whether a shard has rows of these cells; those that `xaibench publish` writes have the key as name."""
        if keys is None or path.parent != self.root / "rows":
            return keys is None or path.stem in keys
        return not self._cells_in(path).isdisjoint(keys)

    def _cells_in(self, path: Path) -> frozenset[str]:
        """The cells of which a shard has rows. Keys are hashes, so the least and the largest one in a file do not tell
        which others it has."""
        if path not in self._cells_of:
            with reading(path, self.root):
                file, self._versions[path] = open_shard(path)
                with file:
                    found = [batch["cell"].unique() for batch in file.iter_batches(BATCH, columns=["cell"])]
            self._cells_of[path] = frozenset(sys.intern(key) for part in found for key in part.to_pylist())
        return self._cells_of[path]

    def _version(self, path: Path) -> int:
        if path not in self._versions:
            with reading(path, self.root):
                file, self._versions[path] = open_shard(path)
                file.close()
        return self._versions[path]


def _with_place(batch: pa.RecordBatch, places: pa.Array) -> pa.RecordBatch:
    """The batch with the place of each row's file among the sorted files, instead of its name, which is long."""
    at = batch.schema.get_field_index(SHARD)
    return batch.set_column(at, pa.field(SHARD, pa.int32()), pc.index_in(batch[SHARD], value_set=places))


def _without_copies(table: pa.Table, columns: list[str]) -> pd.DataFrame:
    """The columns of rows that are no copies. Only rows of a (cell, image) that several shards have can be copies, and
    mostly there is none."""
    if not (_in_several_shards(table, ["cell"]) and _in_several_shards(table, ["cell", "image_id"])):
        return table.select(columns).to_pandas(types_mapper=NULLABLE.get)
    frame = table.to_pandas(types_mapper=NULLABLE.get)
    oldest = frame.groupby([frame[name] for name in IDENTITY], dropna=False, sort=False)[SHARD].transform("min")
    return frame.loc[frame[SHARD] == oldest, columns].reset_index(drop=True)


def _in_several_shards(table: pa.Table, columns: list[str]) -> bool:
    ends = table.group_by(columns).aggregate([(SHARD, "min"), (SHARD, "max")])
    return pc.any(pc.not_equal(ends[f"{SHARD}_min"], ends[f"{SHARD}_max"])).as_py() or False
