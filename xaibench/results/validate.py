"""Checks of a results folder, which is not changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from xaibench.errors import XaibenchError, one_line
from xaibench.results.cells import Cell
from xaibench.results.manifest import RunManifest, safe_command
from xaibench.results.maps import MapStore
from xaibench.results.maps import faults as faults_of_maps
from xaibench.results.parts import TOGETHER, groups
from xaibench.results.row_checks import COLUMNS, Contents, Fault, faults_of_rows
from xaibench.results.schema import IDENTITY, SCHEMA, faults
from xaibench.results.shard_files import is_damage, shard_batches
from xaibench.results.store import Store


@dataclass(frozen=True)
class Problem:
    """One problem: the file, relative to the results folder, the kind of problem, and its description."""

    path: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}: {self.text}"


@dataclass(frozen=True)
class Validation:
    """The result of `inspect`: the problems, and how many rows (copies not counted) in how many cells were read."""

    problems: list[Problem]
    rows: int
    cells: int


def validate(root: str | Path) -> list[Problem]:
    """The problems of the results folder at `root`, empty if there are none.

    Kinds: unreadable, schema, row, duplicate, range, digest, orphan (rows without a cell file), cell, list, run,
    map. Raises
    XaibenchError if `root` is not a results folder.
    """
    return inspect(root).problems


def inspect(root: str | Path) -> Validation:
    """As `validate`, with counts."""
    store = Store.open(root)
    problems: list[Problem] = []
    rows = _Rows(store, problems)
    cells = _cells(store, problems)
    listed: list[Problem] = []
    lists = _lists(store, listed)
    runs = _Runs(store, lists)
    names = [_name(store, path) for path in rows.shards]
    faults: list[Fault] = []
    contents, count = Contents(cells), 0
    for group in groups(rows.cells, TOGETHER):
        found = rows.of(group)
        faults += faults_of_rows(found, cells)
        contents.add(found)
        runs.add(found)
        count += len(found) - int(found.duplicated([*IDENTITY]).sum())
    for kinds in (("orphan", "range"), ("duplicate",)):
        ordered = sorted((fault for fault in faults if fault.kind in kinds), key=lambda fault: fault.cell)
        problems += [Problem(names[fault.place], fault.kind, fault.text) for fault in ordered]
    for name, image_id, place, several in contents.several():
        text = f"image {image_id} of {name} has several contents: {', '.join(several)}"
        problems.append(Problem(names[place], "digest", text))
    problems += [*listed, *runs.problems(), *_maps(store)]
    return Validation(problems, count, len(rows.cells))


class _Rows:
    """The rows of the shards that can be read, a few cells at a time; adds the problems of single shards and rows.

    cells: of each the number of rows, in the order in which they come. A folder with few rows is read once, a larger
    one twice.
    """

    def __init__(self, store: Store, problems: list[Problem]):
        self.shards, self.cells = store.shards(), Counter()
        self._of: dict[int, set[str]] = {}  # cells of each sound shard
        self._held: dict[int, pa.Table] | None = {}
        for place, path in enumerate(self.shards):
            table = _shard(store, path, problems)
            if table is None:
                continue
            found = {one["values"]: one["counts"] for one in table["cell"].value_counts().to_pylist()}
            self.cells.update(found)
            self._of[place] = set(found)
            if self._held is not None:
                self._held[place] = table
            if self.cells.total() > TOGETHER:
                self._held = None

    def of(self, group: set[str]) -> pd.DataFrame:
        """All rows of some cells, in the order of the shards."""
        tables = []
        for place, cells in self._of.items():
            if not cells & group:
                continue
            table = self._read(place) if self._held is None else self._held[place]
            if not cells <= group:
                table = table.filter(pc.is_in(table["cell"], value_set=pa.array(sorted(group), pa.string())))
            tables.append(table.append_column("place", pa.array(np.full(table.num_rows, place), pa.int32())))
        return pa.concat_tables(tables).to_pandas()

    def _read(self, place: int) -> pa.Table:
        batches = (batch.select(list(COLUMNS)) for batch in shard_batches(self.shards[place]))
        return pa.Table.from_batches(batches, pa.schema([SCHEMA.field(name) for name in COLUMNS]))


def _shard(store: Store, path: Path, problems: list[Problem]) -> pa.Table | None:
    name = _name(store, path)
    try:
        table = pa.Table.from_batches(shard_batches(path), SCHEMA)
    except XaibenchError as error:
        problems.append(Problem(name, "schema", str(error)))
        return None
    except (pa.ArrowException, OSError) as error:
        what = "not a whole Parquet file" if is_damage(error) else "cannot be read now, its rows may be sound"
        problems.append(Problem(name, "unreadable", f"{what} ({one_line(error)})"))
        return None
    for text, bad in faults(table):
        count = pc.sum(bad).as_py() or 0
        if count:
            problems.append(Problem(name, "row", f"{text}, in {count} of {table.num_rows} rows"))
    if path.parent != store.root / "rows" and (others := set(table["cell"].unique().to_pylist()) - {path.stem}):
        problems.append(
            Problem(name, "row", f"by its name it has rows of one cell, but there are {len(others)} others")
        )
    return table.select(list(COLUMNS))


def _cells(store: Store, problems: list[Problem]) -> dict[str, Cell]:
    cells = {}
    for path in sorted((store.root / "cells").glob("*.json")):
        try:
            cell = store.cell(path.stem)
            key = cell.key
        except (XaibenchError, TypeError, ValueError, AttributeError) as error:
            problems.append(Problem(_name(store, path), "unreadable", f"not a cell ({one_line(error)})"))
            continue
        cells[path.stem] = cell
        if key != path.stem:
            problems.append(Problem(_name(store, path), "cell", f"its content has the key {key}: it was changed"))
    return cells


def _lists(store: Store, problems: list[Problem]) -> dict[str, list[str]]:
    lists = {}
    for path in sorted((store.root / "lists").glob("*.json")):
        try:
            lists[path.stem] = store.load_list(path.stem)
        except XaibenchError as error:
            problems.append(Problem(_name(store, path), "list", str(error)))
    return lists


class _Runs:
    """The runs of a folder, and how many images of their lists the cells of complete ones lack."""

    def __init__(self, store: Store, lists: dict[str, list[str]]):
        self._store, self._lists = store, {name: set(images) for name, images in lists.items()}
        self._runs: dict[str, RunManifest | str] = {}  # by the name of the file; what is wrong where it cannot be read
        self._wanted: dict[str, set[str]] = {}  # of each cell the lists that it is to have
        self._lacking: dict[tuple[str, str], int] = {}  # images, by cell and list
        for path in sorted((store.root / "runs").glob("*.json")):
            try:
                run = self._runs[_name(store, path)] = RunManifest.load(path)
            except XaibenchError as error:
                self._runs[_name(store, path)] = str(error)
                continue
            if run.status == "complete" and (listed := run.images.get("list")) in self._lists:
                for key in run.cells:
                    self._wanted.setdefault(key, set()).add(listed)

    def add(self, rows: pd.DataFrame) -> None:
        """Takes in the rows of further cells."""
        for key, images in rows.groupby("cell")["image_id"]:
            stored = set(images) if key in self._wanted else set()
            for listed in self._wanted.get(key, ()):
                self._lacking[key, listed] = len(self._lists[listed] - stored)

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the runs, after all rows were taken in."""
        for name, run in self._runs.items():
            if isinstance(run, str):
                yield Problem(name, "unreadable", run)
                continue
            if run.status != "complete":
                continue
            listed = run.images.get("list")
            if listed not in self._lists:
                yield Problem(name, "run", f"its image list {listed} is missing or damaged")
                continue
            lacking = [self._lacking.get((key, listed), len(self._lists[listed])) for key in dict.fromkeys(run.cells)]
            if any(lacking):
                cells = f"{sum(map(bool, lacking))} of {len(run.cells)} cells"
                command = safe_command(run.command, self._store.root)
                text = f"marked complete, but {sum(lacking)} images in {cells} lack rows; to compute them: {command}"
                yield Problem(name, "run", text)


def _maps(store: Store) -> Iterator[Problem]:
    for path in MapStore(store.root).all_files():
        for text in faults_of_maps(path):
            yield Problem(
                _name(store, path), "map", f"{text}; remove the file, and the same run command makes its maps again"
            )


def _name(store: Store, path: Path) -> str:
    return path.relative_to(store.root).as_posix()
