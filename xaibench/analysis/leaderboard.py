"""A leaderboard: mean, interval and rank of each method over one list of images, for one fixed model."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xaibench.analysis.boards import choose, short_key
from xaibench.analysis.bootstrap import bootstrap_means, percentile_interval, rank_intervals, ranks
from xaibench.errors import XaibenchError
from xaibench.results.cells import Cell, describe, metric_words
from xaibench.results.store import Store

COLUMNS = ("rank", "method", "mean", "ci_low", "ci_high", "n_images", "n_undefined",
           "rank_low", "rank_high", "coverage", "kind")  # fmt: skip
READ = ("cell", "image_id", "target", "unit", "metric", "score", "status")
RANKED = ("method", "variant")
LEVEL = 0.95


@dataclass(frozen=True)
class Leaderboard:
    """One board's table and all that must be said with it.

    table: one row per method, best first, with `COLUMNS`: rank, rank_low, rank_high (Int64, null for controls, oracles
    and incomplete methods); mean, ci_low, ci_high (float64, in the protocol's unit, NaN without an image); n_images in
    the mean, n_undefined of them at the cost of an undefined map; coverage of the image list, 0 to 1.
    n_list: images on the list; n_reference: those of them excluded for all methods, as the reference is undefined.
    accuracy: {"correct", "images"} of the model, or None. notes: which board this is, what else there is.
    """

    table: pd.DataFrame
    board: str
    context: dict[str, Any]
    metric: str
    higher_is_better: bool
    n_list: int
    n_reference: int
    undefined_cost: float | None = None
    accuracy: dict[str, int] | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def title(self) -> str:
        """The context in one line."""
        return describe(self.context)

    @property
    def caption(self) -> str:
        """What the numbers mean, in a few sentences."""
        from xaibench.report.board_text import caption

        return caption(self)

    def to_text(self, width: int | None = None, colour: bool = False) -> str:
        """Title, table and caption for a terminal of `width` columns (default: as wide as the table needs)."""
        from xaibench.report.board_text import to_text

        return to_text(self, width, colour)

    def to_markdown(self) -> str:
        """Title, table and caption in Markdown."""
        from xaibench.report.board_text import to_markdown

        return to_markdown(self)

    def to_csv(self) -> str:
        """The table with full precision, empty where there is no value."""
        return self.table.to_csv(index=False, lineterminator="\n")

    def to_json(self) -> str:
        """Everything, context included, as one JSON object; null where there is no value."""
        from xaibench.report.board_text import to_json

        return to_json(self)


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
) -> Leaderboard:
    """The leaderboard of a results folder: the board asked for, or the one that was worked at last.

    Args:
        protocol, model, dataset, board: as for `xaibench.analysis.boards.boards`.
        metric: which one, where a protocol stores several (default: the one its card names).

    Raises XaibenchError when no board fits, several begin with `board`, or the folder cannot be read.
    """
    store = store if isinstance(store, Store) else Store.open(store)
    taken, others = choose(store, protocol, model=model, dataset=dataset, board=board)
    every = [taken, *others]
    images = taken.image_list(store)
    notes = [f"board {short_key(taken, every)}: {taken.title}"]
    if taken.run and taken.run.status != "complete":
        notes.append(f"the image list is that of run {taken.run.run}, which is {taken.run.status}")
    longest = max((run.images.get("count") or 0 for run in taken.runs), default=0)
    if images is not None and longest > len(images):
        notes.append(f"another run of this board has a list of {longest} images; the newest has {len(images)}")
    for cell in taken.older:
        notes.append(f"{cell.method_name}: an older version is stored too (cell {cell.key}); the newest is shown")
    for other in others:
        notes.append(f"also stored: {other.title} (--board {short_key(other, every)})")
    rows = store.rows([cell.key for cell in taken.cells], columns=READ)
    return leaderboard(
        rows, taken.cells, images, metric=metric, accuracy=taken.run.accuracy if taken.run else None,
        notes=notes, resamples=resamples, seed=seed,
    )  # fmt: skip


def leaderboard(
    rows: pd.DataFrame,
    cells: Iterable[Cell],
    images: Collection[str] | None = None,
    *,
    metric: str | None = None,
    accuracy: dict[str, int] | None = None,
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
    metric = _metric(rows, protocol, metric)
    protocol = protocol | metric_words(protocol, metric)
    directed = protocol.get("higher_is_better", True) is not None
    higher = bool(protocol.get("higher_is_better", True)) or not directed
    listed = sorted(set(rows["image_id"]) if images is None else set(images))
    rows = rows[(rows["metric"] == metric) & rows["image_id"].isin(listed)]
    scores, undefined = _image_scores(rows, keys, protocol)
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
    numbers, ties = _statistics(
        scores, complete, table["kind"].isin(RANKED).to_numpy() & directed, higher, resamples, seed
    )
    table = pd.concat([table, numbers], axis=1)
    order = table.assign(by=-table["mean"] if higher else table["mean"]).sort_values(["by", "method"]).index
    table = table.loc[order, list(COLUMNS)].reset_index(drop=True)
    notes = list(notes)
    if not directed:
        notes.append(f"{metric} describes and has no better end, so nothing is ranked by it")
    close = [table["method"][i] for i in range(len(table)) if order[i] in ties]
    if close:
        notes.append("not told apart from the method ranked just above (the 95 % interval of the paired difference "
                     f"has 0 in it): {', '.join(close)}")  # fmt: skip
    return Leaderboard(
        table, cells[0].board, cells[0].context, metric, higher, len(listed),
        len(set(rows["image_id"]) - set(scores.index)),
        protocol.get("undefined_cost"), accuracy, tuple(notes),
    )  # fmt: skip


def _metric(rows: pd.DataFrame, protocol: dict[str, Any], metric: str | None) -> str:
    stored = sorted(rows["metric"].unique())
    metric = metric or protocol.get("metric") or (stored[0] if stored else protocol["name"])
    if stored and metric not in stored:
        raise XaibenchError(f"no metric {metric!r} is stored for {protocol['name']}; there are {', '.join(stored)}")
    return metric


def _image_scores(rows: pd.DataFrame, keys: list[str], protocol: dict[str, Any]) -> tuple[pd.DataFrame, pd.Series]:
    """Scores (images with a defined reference, cells), NaN where not stored, and images with an undefined map."""
    reference = rows["status"] == "undefined-reference"
    question = pd.MultiIndex.from_frame(rows[["image_id", "target", "unit"]].astype(object).fillna(-1))
    # Instances of a class share a question, so there one without a reference must not take the others with it.
    shared = question[(reference & (rows["unit"] != "instance")).to_numpy()]
    rows = rows[~(question.isin(shared) | reference.to_numpy())]
    broken = rows["status"] == "undefined-map"
    if broken.any():
        cost = protocol.get("undefined_cost")
        if cost is None:
            raise XaibenchError(
                f"{broken.sum()} maps are undefined, and protocol {protocol['name']} declares no undefined_cost"
            )
        rows = rows.assign(score=rows["score"].mask(broken, cost))
    scores = rows.groupby(["image_id", "cell"])["score"].mean().unstack("cell").reindex(columns=keys)
    undefined = rows[broken].groupby("cell")["image_id"].nunique().reindex(keys, fill_value=0)
    return scores, undefined


def _statistics(
    scores: pd.DataFrame, complete: np.ndarray, ranked: np.ndarray, higher: bool, resamples: int, seed: int
) -> tuple[pd.DataFrame, set[int]]:
    """Columns mean to rank_high per method, and the positions of methods not told apart from the one ranked above."""
    count = scores.shape[1]
    columns = {name: np.full(count, np.nan) for name in ("mean", "ci_low", "ci_high")}
    places = {name: pd.array([pd.NA] * count, dtype="Int64") for name in ("rank", "rank_low", "rank_high")}
    groups = [np.flatnonzero(complete), *np.flatnonzero(~complete)[:, None]]
    ties: set[int] = set()
    for group in groups:
        values = scores.iloc[:, group].dropna().to_numpy()
        if not len(group) or not len(values):
            continue
        means = bootstrap_means(values, resamples, seed)
        columns["mean"][group] = values.mean(axis=0)
        columns["ci_low"][group], columns["ci_high"][group] = percentile_interval(means, LEVEL)
        inside = complete[group] & ranked[group]
        if inside.any():
            place = ranks(columns["mean"][group][inside], higher)
            low, high = rank_intervals(means[:, inside], higher, LEVEL)
            for name, found in (("rank", place), ("rank_low", low), ("rank_high", high)):
                places[name][group[inside]] = found
            ties = _ties(means[:, inside], place, group[inside])
    return pd.DataFrame(columns | places), ties


def _ties(means: np.ndarray, place: np.ndarray, positions: np.ndarray) -> set[int]:
    order = np.argsort(place, kind="stable")
    if len(order) < 2:
        return set()
    low, high = percentile_interval(means[:, order[:-1]] - means[:, order[1:]], LEVEL)
    return {int(positions[below]) for below, near in zip(order[1:], (low <= 0) & (high >= 0), strict=True) if near}
