"""Checks of stored rows together: their scores' ranges, copies that differ, images with several contents.

All take the rows of some cells, whole, with the columns `COLUMNS` and `place`, the number of each row's file; so a
folder of any size is checked a few cells at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from xaibench.hashing import digest
from xaibench.results.cells import Cell, metric_range
from xaibench.results.equality import scale_of, scores_equal
from xaibench.results.schema import IDENTITY

COLUMNS = (*IDENTITY, "image_digest", "score", "status", "dataset")
CONTENT = ("data", "dataset", "image_id")
OVERSHOOT = 1e-5  # by how much rounding may take a score out of its range, as a share of the limit


class Fault(NamedTuple):
    """What is wrong with some rows: the cell, by which faults are ordered, the number of the file, kind and text."""

    cell: str
    place: int
    kind: str
    text: str


def faults_of_rows(rows: pd.DataFrame, cells: Mapping[str, Cell]) -> Iterator[Fault]:
    """Rows of unknown cells, scores outside of their range, and copies that differ, in the order of kinds."""
    yield from _scores(rows, cells)
    yield from _copies(rows, cells)


def _scores(rows: pd.DataFrame, cells: Mapping[str, Cell]) -> Iterator[Fault]:
    for key, group in rows.groupby("cell"):
        if key not in cells:
            text = f"{len(group)} rows of cell {key}, which has no readable file in cells/"
            yield Fault(key, group["place"].iloc[0], "orphan", text)
            continue
        for metric, scored in group.groupby("metric"):
            yield from _outside(key, scored, _range(cells, key, metric))


def _range(cells: Mapping[str, Cell], key: str, metric: str) -> Sequence[float | None]:
    """The range of a metric as its cell declares it; (None, None) where nothing does."""
    protocol = cells[key].context.get("protocol", {}) if key in cells else {}
    return metric_range(protocol, metric)


def _outside(key: str, rows: pd.DataFrame, bounds: Sequence[float | None]) -> Iterator[Fault]:
    """The fault of scores of one metric that lie outside the range of their protocol."""
    (low, high), score = bounds, rows["score"]
    outside = pd.Series(False, index=rows.index)
    if low is not None:
        outside |= score < low - OVERSHOOT * max(1.0, abs(low))
    if high is not None:
        outside |= score > high + OVERSHOOT * max(1.0, abs(high))
    if outside.any():
        worst = rows[outside].iloc[0]
        text = f"{outside.sum()} scores of cell {key} outside [{low}, {high}], such as {worst['score']:g}"
        yield Fault(key, worst["place"], "range", text)


def _copies(rows: pd.DataFrame, cells: Mapping[str, Cell]) -> Iterator[Fault]:
    shared = rows[rows.duplicated([*IDENTITY], keep=False)]
    # Instances of one class in an image share an identity: there the n-th of one shard is the n-th of another.
    position = shared.groupby(["place", *IDENTITY], dropna=False, sort=False).cumcount()
    shared = shared.assign(position=position.where(shared["unit"] == "instance", 0))
    groups = shared.groupby([*IDENTITY, "position"], dropna=False, sort=False)
    copies = groups.agg(low=("score", "min"), high=("score", "max"), statuses=("status", "nunique"),
                        rows=("status", "size"), shards=("place", "nunique"), place=("place", "last"))  # fmt: skip
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
        yield Fault(
            key, row["place"], "duplicate",
            f"{text}; such as image {row['image_id']}: {row['low']:g} and {row['high']:g}",
        )  # fmt: skip


class Contents:
    """Which contents each image has; data sets with other options or masks count as different."""

    def __init__(self, cells: Mapping[str, Cell]):
        parts = {key: cell.context.get("dataset", {}) for key, cell in cells.items()}
        self._data = {key: digest({k: v for k, v in part.items() if k != "label"}) for key, part in parts.items()}
        self._seen = pd.DataFrame(columns=[*CONTENT, "image_digest", "place"])

    def add(self, rows: pd.DataFrame) -> None:
        """Takes in the rows of further cells."""
        found = rows[["dataset", "image_id", "image_digest", "place"]].assign(data=rows["cell"].map(self._data))
        every = pd.concat([self._seen, found]) if len(self._seen) else found
        columns = [*CONTENT, "image_digest"]
        self._seen = every.groupby(columns, dropna=False, sort=False, as_index=False)["place"].max()

    def several(self) -> Iterator[tuple[str, str, int, Iterable[str]]]:
        """The images with several contents: data set, id, the number of the last file that has it, and the contents."""
        seen = self._seen[self._seen.duplicated([*CONTENT], keep=False)]
        for (_, name, image_id), found in seen.groupby([*CONTENT], dropna=False):
            yield name, image_id, found["place"].max(), sorted(found["image_digest"])
