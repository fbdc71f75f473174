"""The rows of a submission against their keys, against each other, and against those that a board has already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import pandas as pd

from xaibench.results.cells import Cell, part_name
from xaibench.results.equality import scores_equal
from xaibench.results.parts import Parts
from xaibench.results.schema import IDENTITY
from xaibench.results.store import Store
from xaibench.results.validate import Problem

NAMED = ("cell", "image_id", "metric", "prediction", "label", "protocol", "dataset", "model", "method")
SAID = ("model", "image_id", "prediction", "label")
COMPARED = (*IDENTITY, "score", "status", "image_digest")


def row_problems(cells: Mapping[str, Cell], rows: Parts) -> Iterator[Problem]:
    """Readable names of rows are those of their keys; metrics are declared; a model says one thing of an image."""
    of_model = {key: repr(_of_model(cell)) for key, cell in cells.items()}
    numbers = {text: number for number, text in enumerate(sorted(set(of_model.values())))}
    said = pd.DataFrame(columns=[*SAID])
    for part in rows.read(NAMED):
        for key, own in part.groupby("cell"):
            yield from _names(key, cells[key], own)
        found = part.assign(model=part["cell"].map({key: numbers[text] for key, text in of_model.items()}))
        said = pd.concat([said, found[[*SAID]]] if len(said) else [found[[*SAID]]]).drop_duplicates()
    several = said.groupby(["model", "image_id"])[["prediction", "label"]].nunique(dropna=False)
    if (several := several[(several > 1).any(axis=1)]).size:
        image = several.index[0][1]
        yield Problem("rows", "row", f"image {ascii(image)[:80]} has several labels or predictions of one model")


def _names(key: str, cell: Cell, own: pd.DataFrame) -> Iterator[Problem]:
    """Of the rows of one result."""
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


def _of_model(cell: Cell) -> list[Any]:
    return [cell.context.get(part) for part in ("model", "weights", "dataset", "precision")]


def problems_with_board(cells: Mapping[str, Cell], rows: Parts, board: Store) -> Iterator[Problem]:
    """Results that the board has already, which nobody may change."""
    shared = [key for key in cells if board.has_cell(key)]
    for part in rows.read(COMPARED, shared):
        known = board.rows(part["cell"].unique(), COMPARED)
        both = part.merge(known, on=list(IDENTITY), suffixes=("", "_known"))
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
