"""Checks of a results folder, which is not changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from xaibench.errors import XaibenchError, one_line
from xaibench.hashing import digest
from xaibench.results.cells import Cell, metric_declaration
from xaibench.results.completion import missing_images
from xaibench.results.equality import scale_of, scores_equal
from xaibench.results.manifest import RunManifest, safe_command
from xaibench.results.maps import MapStore
from xaibench.results.maps import faults as faults_of_maps
from xaibench.results.schema import IDENTITY, SCHEMA, faults
from xaibench.results.shard_files import is_damage, shard_batches
from xaibench.results.store import Store

OVERSHOOT = 1e-5  # by how much rounding may take a score out of its range, as a share of the limit


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
    tables = []
    for path in store.shards():
        table = _shard(store, path, problems)
        if table is not None:
            tables.append(table.append_column("shard", pa.array([_name(store, path)] * table.num_rows, pa.string())))
    cells = _cells(store, problems)
    rows = pa.concat_tables(tables).to_pandas() if tables else pd.DataFrame(columns=[*_COLUMNS, "shard"])
    for found in (_scores(rows, cells), _copies(rows, cells), _contents(rows, cells)):
        problems.extend(found)
    lists = _lists(store, problems)
    problems.extend(_run_problems(store, rows, lists))
    problems.extend(_maps(store))
    return Validation(problems, len(rows.drop_duplicates([*IDENTITY])), rows["cell"].nunique())


_COLUMNS = [*IDENTITY, "image_digest", "score", "status", "dataset"]


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
    return table.select(_COLUMNS)


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


def _scores(rows: pd.DataFrame, cells: dict[str, Cell]) -> Iterator[Problem]:
    for key, group in rows.groupby("cell"):
        shard = group["shard"].iloc[0]
        if key not in cells:
            yield Problem(shard, "orphan", f"{len(group)} rows of cell {key}, which has no readable file in cells/")
            continue
        for metric, scored in group.groupby("metric"):
            yield from _outside(key, scored, _range(cells, key, metric))


def _range(cells: dict[str, Cell], key: str, metric: str) -> Sequence[float | None]:
    """The range of a metric as its cell declares it; (None, None) where nothing does."""
    protocol = cells[key].context.get("protocol", {}) if key in cells else {}
    return metric_declaration(protocol, metric).get("range") or (None, None)


def _outside(key: str, rows: pd.DataFrame, bounds: Sequence[float | None]) -> Iterator[Problem]:
    """The problem of scores of one metric that lie outside the range of their protocol."""
    (low, high), score = bounds, rows["score"]
    outside = pd.Series(False, index=rows.index)
    if low is not None:
        outside |= score < low - OVERSHOOT * max(1.0, abs(low))
    if high is not None:
        outside |= score > high + OVERSHOOT * max(1.0, abs(high))
    if outside.any():
        worst = rows[outside].iloc[0]
        yield Problem(
            worst["shard"], "range",
            f"{outside.sum()} scores of cell {key} outside [{low}, {high}], such as {worst['score']:g}",
        )  # fmt: skip


def _copies(rows: pd.DataFrame, cells: dict[str, Cell]) -> Iterator[Problem]:
    shared = rows[rows.duplicated([*IDENTITY], keep=False)]
    # Instances of one class in an image share an identity: there the n-th of one shard is the n-th of another.
    position = shared.groupby(["shard", *IDENTITY], dropna=False, sort=False).cumcount()
    shared = shared.assign(position=position.where(shared["unit"] == "instance", 0))
    groups = shared.groupby([*IDENTITY, "position"], dropna=False, sort=False)
    copies = groups.agg(low=("score", "min"), high=("score", "max"), statuses=("status", "nunique"),
                        rows=("status", "size"), shards=("shard", "nunique"), shard=("shard", "last"))  # fmt: skip
    copies = copies.reset_index()
    largest = rows["score"].abs().groupby([rows["cell"], rows["metric"]]).max().rename("scale")
    for key, metric in largest.index:
        largest[key, metric] = scale_of(largest[key, metric], _range(cells, key, metric))
    scale = copies.join(largest, on=["cell", "metric"])["scale"]
    equal = scores_equal(copies["low"], copies["high"], metric=copies["metric"], scale=scale)
    bad = copies[~equal | (copies["statuses"] > 1) | (copies["rows"] > copies["shards"])]
    for key, group in bad.groupby("cell"):
        row = group.iloc[0]
        text = f"{len(group)} rows of cell {key} are stored several times and differ, or are twice in one shard"
        yield Problem(
            row["shard"], "duplicate", f"{text}; such as image {row['image_id']}: {row['low']:g} and {row['high']:g}"
        )


def _contents(rows: pd.DataFrame, cells: dict[str, Cell]) -> Iterator[Problem]:
    """Images with several contents under one data set; data sets with other options or masks count as different."""
    parts = {key: cell.context.get("dataset", {}) for key, cell in cells.items()}
    keys = {key: digest({k: v for k, v in part.items() if k != "label"}) for key, part in parts.items()}
    rows = rows.assign(data=rows["cell"].map(keys))
    contents = rows.groupby(["data", "dataset", "image_id"], dropna=False)["image_digest"].agg(["nunique", "unique"])
    for (data, name, image_id), found in contents[contents["nunique"] > 1].iterrows():
        shard = rows[(rows["data"] == data) & (rows["image_id"] == image_id)]["shard"].iloc[-1]
        text = f"image {image_id} of {name} has several contents: {', '.join(sorted(found['unique']))}"
        yield Problem(shard, "digest", text)


def _lists(store: Store, problems: list[Problem]) -> dict[str, list[str]]:
    lists = {}
    for path in sorted((store.root / "lists").glob("*.json")):
        try:
            lists[path.stem] = store.load_list(path.stem)
        except XaibenchError as error:
            problems.append(Problem(_name(store, path), "list", str(error)))
    return lists


def _run_problems(store: Store, rows: pd.DataFrame, lists: dict[str, list[str]]) -> Iterator[Problem]:
    stored = rows.groupby("cell")["image_id"].agg(set).to_dict()
    for path in sorted((store.root / "runs").glob("*.json")):
        try:
            run = RunManifest.load(path)
        except XaibenchError as error:
            yield Problem(_name(store, path), "unreadable", str(error))
            continue
        if run.status != "complete":
            continue
        images = lists.get(run.images.get("list"))
        if images is None:
            yield Problem(_name(store, path), "run", f"its image list {run.images.get('list')} is missing or damaged")
            continue
        missing = missing_images(run.cells, images, stored)
        if missing:
            count = sum(map(len, missing.values()))
            yield Problem(
                _name(store, path), "run",
                f"marked complete, but {count} images in {len(missing)} of {len(run.cells)} cells lack rows; "
                f"to compute them: {safe_command(run.command, store.root)}",
            )  # fmt: skip


def _maps(store: Store) -> Iterator[Problem]:
    for path in MapStore(store.root).all_files():
        for text in faults_of_maps(path):
            yield Problem(
                _name(store, path), "map", f"{text}; remove the file, and the same run command makes its maps again"
            )


def _name(store: Store, path: Path) -> str:
    return path.relative_to(store.root).as_posix()
