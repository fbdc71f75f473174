"""A leaderboard: mean, interval and rank of each method over one list of images, for one fixed model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise as neighbours
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from xaibench.analysis.boards import Board, boards, choose, short_key
from xaibench.analysis.breakdown import Breakdown, breakdown
from xaibench.analysis.correlation import Correlation, correlation
from xaibench.analysis.costs import with_costs
from xaibench.analysis.pairwise import Pairs, pairwise
from xaibench.analysis.ranking import RANKED, statistics_of
from xaibench.analysis.scored_board import RecordedRun, ScoredBoard, Source, image_scores
from xaibench.analysis.scores import bounds_of, of_metric
from xaibench.analysis.winner import Winner, winner
from xaibench.results.cells import Cell, metric_declaration
from xaibench.results.store import Store

COLUMNS = ("rank", "method", "mean", "ci_low", "ci_high", "n_images", "n_undefined",
           "rank_low", "rank_high", "group", "coverage", "kind")  # fmt: skip
UNRECORDED = RecordedRun()
READ = ("cell", "image_id", "target", "unit", "metric", "score", "status", "label", "correct")


@dataclass(frozen=True)
class Leaderboard(ScoredBoard):
    """One board's table, its context, and notes on it.

    table: one row per method, best first, with `COLUMNS`: rank, rank_low, rank_high (Int64, null for controls, oracles
    and incomplete methods); mean, ci_low, ci_high (float64, in the protocol's unit, NaN where there is none); n_images
    in the mean, n_undefined of them at the cost of an undefined map; group, letters that methods share which cannot be
    told apart, "" without a rank; coverage of the image list, 0 to 1.
    Where runs recorded what methods cost, also passes, passes_shared, seconds, seconds_shared (float64, per image) and
    cost_images (`analysis.costs`).
    n_list: images on the list; n_reference: those of them excluded for all methods, as the reference is undefined.
    accuracy: {"correct", "images"} of the model, or None. notes: which board this is, what else there is. source:
    what it was made from, for `breakdown` and `correlation`. age: with which versions of cards it was made, where there
    are newer ones. surely_better: bool, ranked methods in the table's order by themselves, whether that of the row
    is surely better than that of the column (`rank_sets.surely_better`); rank sets, groups and notes are read off it.

    `title` is the context in one line and `caption` what the numbers mean. `to_text(width, colour)`, `to_markdown()`,
    `to_csv()`, `to_json()` and `to_html()` give the board as text; `image_scores()` the scores behind the means, one
    row per image and one column per method.
    """

    layout: ClassVar[str] = "leaderboard"

    def breakdown(self, by: str, classes: str = "*", order: str = "name", **bootstrap: int) -> Breakdown:
        """The same methods by group of images: by `correctness` or `class`; see `analysis.breakdown.breakdown`."""
        return breakdown(self, by, classes, order, **bootstrap)

    def correlation(self, metric: str, **bootstrap: int) -> Correlation:
        """Pearson's r of the board's metric with another one, per method; see `analysis.correlation.correlation`."""
        return correlation(self, metric, **bootstrap)

    def pairwise(self, seed: int = 0) -> Pairs:
        """The ranked methods two by two, with tests and effect sizes; see `analysis.pairwise.pairwise`."""
        return pairwise(self, self.surely_better, seed)

    @cached_property
    def winner(self) -> Winner | None:
        """The best method with its mean on images that it was not chosen on; None without rows, with fewer than two
        ranked methods, or fewer than 8 images."""
        return None if self.source is None else winner(self.table, self.image_scores(), self.higher_is_better)


def open_leaderboard(
    store: Store | str | Path,
    protocol: str,
    *,
    model: str | None = None,
    dataset: str | None = None,
    board: str | None = None,
    metric: str | None = None,
    resamples: int = 2000,
    seed: int = 0,
    newest: Callable[[str, str], int | None] = lambda kind, name: None,
    others: bool = True,
    held: bool = True,
) -> Leaderboard:
    """The leaderboard of a results folder: the selected board, or the one that was computed last.

    Args:
        protocol, model, dataset, board: as for `xaibench.analysis.boards.boards`.
        metric: which one, where a protocol stores several (default: the one its card names).
        newest: the installed version of a card, see `Board.outdated`.
        others: whether the notes list the other boards of the protocol.
        held: see `open_board`.

    Raises XaibenchError when no board fits, several begin with `board`, or the folder cannot be read.
    """
    store = store if isinstance(store, Store) else Store.open(store)
    taken, rest = choose(boards(store), store.root, protocol, model=model, dataset=dataset, board=board)
    return open_board(
        store, taken, rest, metric=metric, resamples=resamples, seed=seed, newest=newest, others=others, held=held
    )


def open_board(
    store: Store,
    taken: Board,
    rest: Sequence[Board] = (),
    *,
    metric: str | None = None,
    resamples: int = 2000,
    seed: int = 0,
    newest: Callable[[str, str], int | None] = lambda kind, name: None,
    others: bool = True,
    held: bool = False,
) -> Leaderboard:
    """The leaderboard of one board.

    Args as for `open_leaderboard`; rest: the other boards of its protocol, for notes. held: whether its rows stay in
    memory; else they are read again where more is made of it, so that many boards may be open.
    """
    every = [taken, *rest]
    images = taken.image_list(store)
    notes = [f"board {short_key(taken, every)}: {taken.title}"]
    if taken.run and taken.run.status != "complete":
        notes.append(f"the image list is that of run {taken.run.run}, which is {taken.run.status}")
    stop = taken.run.stop if taken.run else None
    if stop and images is not None and len(images) < stop["listed"]:
        notes.append(
            f"images were added until the order was settled (--until-stable: {len(images)} of {stop['listed']}), which "
            "intervals and ranks here know nothing of"
        )
    longest = max((run.images.get("count") or 0 for run in taken.runs), default=0)
    if images is not None and longest > len(images):
        notes.append(f"another run of this board has a list of {longest} images; the newest has {len(images)}")
    if old := taken.outdated(newest):
        notes.append(f"made with {'; '.join(old)}; the same run command computes the newer version")
    for cell in taken.older:
        notes.append(f"{cell.method_name}: an older version is stored too (cell {cell.key}); the newest is shown")
    for other in rest if others else ():
        notes.append(f"also stored: {other.title} (--board {short_key(other, every)})")
    read = partial(store.rows, [cell.key for cell in taken.cells], READ)
    found = leaderboard(
        read(), taken.cells, images, metric=metric, run=_recorded(taken), notes=notes, resamples=resamples, seed=seed
    )
    if not held:
        found = replace(found, source=replace(found.source, read=partial(_listed, read, found.source.images)))
    table, of_costs = with_costs(found.table, taken)
    found = replace(found, table=table, notes=(*found.notes, *of_costs))
    return replace(found, context=taken.context, age=taken.age or (f"made with {'; '.join(old)}" if old else ""))


def leaderboard(
    rows: pd.DataFrame,
    cells: Iterable[Cell],
    images: Collection[str] | None = None,
    *,
    metric: str | None = None,
    run: RecordedRun = UNRECORDED,
    notes: Iterable[str] = (),
    resamples: int = 2000,
    seed: int = 0,
) -> Leaderboard:
    """The leaderboard of cells of one board.

    An image's score is the mean of its rows (targets, instances). An undefined map enters at the protocol's
    `undefined_cost`; an image whose reference is undefined is left out for all methods. Ranks and their intervals are
    among the methods and variants that have every image of the list.

    Args:
        rows: columns `READ`, as from `Store.rows`; rows of other cells and images are ignored.
        cells: one per method, all with the same context.
        images: the list that each method is to have; by default every image in `rows`.
        run: accuracy for the caption; classes and command for boards in groups.
        notes: what else a reader must know; further ones are added.

    Raises ValueError for cells of several boards or two of one method; XaibenchError for an unknown metric, and for
    undefined maps of a protocol that declares no cost for them.
    """
    cells = list(cells)
    if len({cell.board for cell in cells}) != 1:
        raise ValueError("a leaderboard has the cells of exactly one board")
    if len({cell.method_name for cell in cells}) != len(cells):
        raise ValueError("a leaderboard has one cell per method")
    protocol = cells[0].context["protocol"]
    keys = [cell.key for cell in cells]
    rows = rows[rows["cell"].isin(keys)]
    metric = of_metric(rows, protocol, metric)
    protocol = protocol | metric_declaration(protocol, metric)
    directed = protocol.get("higher_is_better", True) is not None
    higher = bool(protocol.get("higher_is_better", True)) or not directed
    listed = sorted(set(rows["image_id"]) if images is None else set(images))
    every = rows[rows["image_id"].isin(listed)]
    rows = every[every["metric"] == metric]
    scores, undefined = image_scores(rows, keys, protocol)
    stored = rows.groupby("cell")["image_id"].nunique().reindex(keys, fill_value=0)
    coverage = stored / len(listed) if listed else stored * 0.0

    table = pd.DataFrame({
        "method": [cell.method_name for cell in cells],
        "n_images": scores.notna().sum().to_numpy(),
        "n_undefined": undefined.to_numpy(),
        "coverage": coverage.to_numpy(),
        "kind": [cell.kind for cell in cells],
    })  # fmt: skip
    complete = (stored == len(listed)).to_numpy() & bool(len(scores))
    found = statistics_of(
        scores, complete, table["kind"].isin(RANKED).to_numpy() & directed, higher, bounds_of(protocol), resamples, seed
    )
    table = pd.concat([table, found.table], axis=1)
    order = table.assign(by=-table["mean"] if higher else table["mean"]).sort_values(["by", "method"]).index
    table = table.loc[order, list(COLUMNS)].reset_index(drop=True)
    notes = list(notes)
    if not directed:
        notes.append(f"{metric} describes and has no better end, so nothing is ranked by it")
    ranked = table["rank"].notna().to_numpy()
    names, places = table["method"][ranked].tolist(), order[ranked]
    better = pd.DataFrame(found.better[np.ix_(places, places)], index=names, columns=names)
    notes += _ties(better)
    notes += _without_interval(table)
    return Leaderboard(
        table, cells[0].board, cells[0].context, metric, higher, len(listed),
        len(set(rows["image_id"]) - set(scores.index)),
        protocol.get("undefined_cost"), run.accuracy, tuple(notes),
        Source(lambda: every, tuple(cells), tuple(listed), run.classes, run.command), surely_better=better,
    )  # fmt: skip


def _listed(read: Callable[[], pd.DataFrame], images: Sequence[str]) -> pd.DataFrame:
    rows = read()
    return rows[rows["image_id"].isin(images)]


def _ties(better: pd.DataFrame) -> Iterator[str]:
    """Which methods the test of all pairs does not tell apart from the one ranked just above."""
    names = better.index.tolist()
    close = [low for high, low in neighbours(names) if not better.loc[high, low]]
    if close:
        yield ("not told apart from the method ranked just above (a test of all pairs at once, at 95 %): "
               f"{', '.join(close)}")  # fmt: skip


def _without_interval(table: pd.DataFrame) -> Iterator[str]:
    """Which methods have a mean and no interval."""
    without = table.loc[table["mean"].notna() & table["ci_low"].isna(), "method"].tolist()
    if without:
        yield ("without an interval, as the score never varies, or there are too few values for one and no range is "
               f"known: {', '.join(without)}")  # fmt: skip


def _recorded(board: Board) -> RecordedRun:
    """Accuracy and command of the board's run, and the names of the classes from the newest run that recorded them."""
    classes = next((run.classes for run in reversed(board.runs) if run.classes), ())
    if board.run is None:
        return RecordedRun(classes=tuple(classes))
    return RecordedRun(board.run.accuracy, tuple(classes), board.run.command)
