"""The rows of a submission against their keys, against each other, and against those that a board has already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import pandas as pd

from xaibench.results.cells import Cell, part_name
from xaibench.results.equality import scores_equal
from xaibench.results.schema import IDENTITY
from xaibench.results.shard_files import shard_batches
from xaibench.results.store import Store
from xaibench.results.validate import Problem


def row_problems(cells: Mapping[str, Cell], rows: pd.DataFrame, store: Store) -> Iterator[Problem]:
    """Readable names of rows are those of their keys; metrics are declared; each file has the rows of its name."""
    for path in store.shards():
        if {key for batch in shard_batches(path) for key in batch["cell"].unique().to_pylist()} - {path.stem}:
            yield Problem(path.relative_to(store.root).as_posix(), "row", "it has rows of another result than its name")
    for key, own in rows.groupby("cell"):
        cell = cells[key]
        names = {part: part_name(cell.context, part) for part in ("protocol", "dataset", "model")}
        names |= {"method": cell.method_name if cell.method else None}
        for column, name in names.items():
            if (wrong := set(own[column].where(own[column].notna(), None)) - {name}) and not (
                column == "method" and cell.method and wrong == {cell.method["name"]}
            ):
                yield Problem(f"cells/{key}.json", "row", f"its rows name another {column} than its key")
        declared = [cell.context["protocol"]["metric"], *(cell.context["protocol"].get("further") or {})]
        if odd := [m for m in own["metric"].unique() if not any(fnmatchcase(m, one) for one in declared)]:
            text = f"its rows have a metric {ascii(odd[0])[:60]} that is not declared"
            yield Problem(f"cells/{key}.json", "row", text)
    models = rows["cell"].map({key: repr(_of_model(cell)) for key, cell in cells.items()})
    said = rows.assign(of=models).groupby(["of", "image_id"])[["prediction", "label"]].nunique(dropna=False)
    if (several := said[(said > 1).any(axis=1)]).size:
        image = several.index[0][1]
        yield Problem("rows", "row", f"image {ascii(image)[:80]} has several labels or predictions of one model")


def _of_model(cell: Cell) -> list[Any]:
    return [cell.context.get(part) for part in ("model", "weights", "dataset", "precision")]


def problems_with_board(cells: Mapping[str, Cell], rows: pd.DataFrame, board: Store) -> Iterator[Problem]:
    """Results that the board has already, which nobody may change."""
    known = board.rows([key for key in cells if board.has_cell(key)])
    both = rows.merge(known, on=list(IDENTITY), suffixes=("", "_known"))
    both = both[both["unit"] != "instance"]
    equal = scores_equal(both["score"], both["score_known"], metric=both["metric"])
    same = (
        equal
        & (both["status"] == both["status_known"]).to_numpy()
        & (both["image_digest"] == both["image_digest_known"]).to_numpy()
    )
    for key in both.loc[~same, "cell"].unique():
        text = "the board has other scores under this key: the results of others are not replaced"
        yield Problem(f"cells/{key}.json", "key", text)
