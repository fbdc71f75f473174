"""Which images a gallery shows: the best, the worst and typical ones, by the mean score of some methods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from xaibench.analysis.boards import Board, boards, choose
from xaibench.analysis.ranking import RANKED
from xaibench.errors import XaibenchError
from xaibench.results.cells import Cell
from xaibench.results.store import Store

SHOWN = 4  # methods in a gallery, besides the oracle


@dataclass(frozen=True)
class Groups:
    """Image ids of a gallery, best first within each group; no image is in two groups. total: images to choose from."""

    best: tuple[str, ...]
    typical: tuple[str, ...]
    worst: tuple[str, ...]
    total: int

    def __iter__(self):
        return iter((("best", self.best), ("typical", self.typical), ("worst", self.worst)))

    @property
    def images(self) -> list[str]:
        """All ids, best first."""
        return [image_id for _, group in self for image_id in group]


@dataclass(frozen=True)
class Selection:
    """What a gallery shows: the board (its last run is the one that is shown), the cells of its columns, the images,
    and the stored rows of these."""

    board: Board
    cells: list[Cell]
    groups: Groups
    rows: pd.DataFrame


def select(
    store: Store,
    *,
    protocol: str | None = None,
    model: str | None = None,
    dataset: str | None = None,
    board: str | None = None,
    run: str | None = None,
    methods: Sequence[str] | None = None,
    count: int = 3,
) -> Selection:
    """The cells and images to show of the board that fits, or of the one that was computed last.

    protocol, model, dataset, board: as for `xaibench.analysis.boards.choose`; run: the beginning of a run's name, whose
    list of images is taken. methods and count: as for `choose_cells` and `pick_images`, with their errors.
    """
    taken = _board(store, protocol, model, dataset, board, run)
    listed = taken.image_list(store)
    rows = store.rows([cell.key for cell in taken.cells])
    metric = taken.context["protocol"].get("metric")
    rows = rows[rows["metric"] == metric] if metric else rows
    rows = rows if listed is None else rows[rows["image_id"].isin(set(listed))]
    if rows.empty:
        raise XaibenchError(f"nothing to show: no row is stored for {taken.title}")
    scores = image_scores(rows, taken.cells)
    cells = choose_cells(taken.cells, scores, methods)
    groups = pick_images(scores, cells, count)
    shown = rows["cell"].isin({cell.key for cell in cells}) & rows["image_id"].isin(groups.images)
    return Selection(taken, cells, groups, rows[shown].reset_index(drop=True))


def _board(
    store: Store, protocol: str | None, model: str | None, dataset: str | None, key: str | None, run: str | None
) -> Board:
    """The board that fits all options, with only the named run where one is named."""
    if protocol is None:
        fitting = boards(store, model=model, dataset=dataset, board=key)
        if not fitting:
            raise XaibenchError(f"no board in {store.root} fits; `xaibench status --out {store.root}` lists them")
        protocol = fitting[0].context["protocol"]["name"]
    if run is None:
        return choose(boards(store), store.root, protocol, model=model, dataset=dataset, board=key)[0]
    for taken in boards(store, model=model, dataset=dataset, board=key):
        named = tuple(record for record in taken.runs if record.run.startswith(run))
        if named:
            return replace(taken, runs=named)
    raise XaibenchError(
        f"no run {run!r} of such a board in {store.root}; `xaibench status --out {store.root}` lists them"
    )


def image_scores(rows: pd.DataFrame, cells: Iterable[Cell]) -> pd.DataFrame:
    """Scores (images, cells): the mean over an image's rows, an undefined map at the protocol's cost.

    rows: columns cell, image_id, score, status. NaN where a cell has no row of the image; images whose reference is
    undefined are left out for all cells, as on boards.
    """
    cells = list(cells)
    keys = [cell.key for cell in cells]
    rows = rows[rows["cell"].isin(keys)]
    nobody = set(rows.loc[rows["status"] == "undefined-reference", "image_id"])
    rows = rows[~rows["image_id"].isin(nobody)]
    cost = cells[0].context["protocol"].get("undefined_cost") if cells else None
    scores = rows["score"].mask(rows["status"] == "undefined-map", cost).astype(float)
    return rows.assign(score=scores).groupby(["image_id", "cell"])["score"].mean().unstack("cell").reindex(columns=keys)


def choose_cells(cells: Sequence[Cell], scores: pd.DataFrame, names: Sequence[str] | None = None) -> list[Cell]:
    """The cells to show: those of the named methods, in that order, or the best few by mean score and the oracle.

    scores: as of `image_scores`. Raises XaibenchError with the methods that there are where one is not.
    """
    by_name = {cell.method_name: cell for cell in cells if cell.method is not None}
    if not by_name:
        raise XaibenchError("this board evaluates no attribution maps; there is nothing to show")
    if names is not None:
        missing = [name for name in names if name not in by_name]
        if missing:
            raise XaibenchError(f"this board has no method {missing[0]!r}; it has {', '.join(sorted(by_name))}")
        return [by_name[name] for name in dict.fromkeys(names)]
    means, complete = scores.mean(), scores.notna().sum().eq(len(scores))
    sign = -1 if _higher(cells[0].context) else 1
    scored = [cell for cell in by_name.values() if cell.kind != "oracle" and scores[cell.key].notna().any()]
    ordered = sorted(
        scored,
        key=lambda c: (c.kind not in RANKED, not complete[c.key], sign * means[c.key], c.method_name),
    )
    oracles = [cell for cell in by_name.values() if cell.kind == "oracle"]
    return ordered[:SHOWN] + oracles[:1]


def pick_images(scores: pd.DataFrame, cells: Sequence[Cell], count: int = 3) -> Groups:
    """The images with the highest and the lowest mean score over the cells, and those around the median.

    The oracle's score does not depend on the image and is left out, unless it is the only one. Images that lack a score
    are left out, equal ones are ordered by their id. Each group has `count` images, or a third of what there is. Raises
    XaibenchError where no image has all scores.
    """
    counted = [cell.key for cell in cells if cell.kind != "oracle"] or [cell.key for cell in cells]
    means = scores[counted].dropna().mean(axis=1)
    if means.empty:
        raise XaibenchError("no image has a score of every method that is to be shown; name others by --methods")
    sign = -1 if _higher(cells[0].context) else 1
    ordered = sorted(means.index, key=lambda image_id: (sign * means[image_id], image_id))
    total = len(ordered)
    if total < 3:  # one is typical, two are the best and the worst
        ends = total == 2
        return Groups(*(tuple(part) for part in (ordered[:ends], ordered[ends : 2 - ends], ordered[2 - ends :])), total)
    size = min(count, total // 3)
    middle = (total - size) // 2
    return Groups(tuple(ordered[:size]), tuple(ordered[middle : middle + size]), tuple(ordered[total - size :]), total)


def _higher(context: dict[str, Any]) -> bool:
    return bool(context["protocol"].get("higher_is_better", True))
