"""A board by groups of what it explains: where the model is right and where it is wrong, or class by class.

After the breakdowns of ObEy (Schulze et al. 2023), for every protocol. Each explained class of an image counts once, so
that a model of several labels is evaluated prediction by prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar

import numpy as np
import pandas as pd

from xaibench.analysis.groups import ALL, by_class, by_correctness, known_pairs, no_class, ordered, reasons
from xaibench.analysis.intervals import Bounds
from xaibench.analysis.ranking import RANKED, intervals_of_methods
from xaibench.analysis.scored_board import ScoredBoard, Source
from xaibench.analysis.scores import bounds_of, pair_index, scored
from xaibench.errors import XaibenchError
from xaibench.presentation import Presentable
from xaibench.results.cells import metric_declaration

BY = ("correctness", "class")
ORDERS = ("name", "count")
GROUP_COLUMNS = ("group", "n_images", "n_pairs", "n_reference", "accuracy")
COLUMNS = ("group", "method", "mean", "ci_low", "ci_high", "n_images", "n_undefined", "kind")


@dataclass(frozen=True)
class Breakdown(Presentable):
    """The methods of a board in groups.

    groups: one row per group, the first is `all`, with `GROUP_COLUMNS`: n_images and n_pairs (images, and explained
    classes of images) with a defined reference, n_reference pairs left out for all methods, accuracy of the model on
    the pairs (NaN where nothing is right or wrong). table: one row per group and method, in the order of groups and of
    the board, with `COLUMNS`: mean over pairs, ci_low and ci_high over images (NaN where there is none), n_images in
    the mean, n_undefined of them with a map that counts at the undefined cost. notes: the board's, how images fall into
    groups, and which are in none.
    """

    layout: ClassVar[str] = "breakdown"

    by: str
    groups: pd.DataFrame
    table: pd.DataFrame
    board: ScoredBoard
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """The board's context and what it is broken down by, in one line."""
        return f"{self.board.title} · by {self.by}"


def breakdown(
    board: ScoredBoard, by: str, classes: str = "*", order: str = "name", resamples: int = 2000, seed: int = 0
) -> Breakdown:
    """The methods of a board by group.

    Args:
        by: `correctness` of the model's prediction (column `correct` of the rows), or `class`: the labelled class that
            is explained, the image's own where the protocol explains predictions.
        classes: which classes to show, by name or wildcard; `all` is always of all.
        order: of classes, by `name`, or by `count`, the largest group first.

    Raises XaibenchError for another value of `by` or `order`, for classes that match none, and where the group of no
    image is known: rows were stored before that was recorded, or the model's classes are not those of the data.
    """
    source = board.require_source()
    for name, value, known in (("by", by, BY), ("sort", order, ORDERS)):
        if value not in known:
            raise XaibenchError(f"{name} is {' or '.join(known)}, not {value!r}")
    protocol = board.context["protocol"] | metric_declaration(board.context["protocol"], board.metric)
    rows = source.rows[source.rows["metric"] == board.metric]
    pairs, rows = known_pairs(rows), scored(rows, protocol)
    pairs["defined"] = pairs.index.isin(pair_index(rows).unique())
    pairs["group"] = by_correctness(pairs) if by == "correctness" else by_class(pairs, board.context, source)
    missing = reasons(pairs, source)
    if pairs["group"].isna().all():
        raise XaibenchError(f"nothing to show by {by}: {missing[0] if missing else 'no row is stored'}")
    every, names = pairs["group"].dropna(), ordered(pairs, by, order)
    shown = [name for name in names if fnmatchcase(name, classes)]
    if not shown:
        raise no_class(classes, names)
    members = {ALL: pairs.index, **{name: every.index[every == name] for name in shown}}
    table, groups = _tables(board, source, pairs, rows, members, bounds_of(protocol), resamples, seed)
    return Breakdown(by, groups, table, board, (*board.notes, *_counts(by, pairs, groups, names, missing, source)))


def _tables(
    board: ScoredBoard, source: Source, pairs: pd.DataFrame, rows: pd.DataFrame, members: dict[str, pd.MultiIndex],
    bounds: Bounds | None, resamples: int, seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """One row per group and method, and one per group."""
    by_name = {cell.method_name: cell for cell in source.cells}
    methods = board.table["method"].tolist()
    keys = [by_name[name].key for name in methods]
    where = [pair_index(rows), rows["cell"]]
    scores = rows["score"].groupby([where[0].get_level_values(0), where[0].get_level_values(1), where[1].to_numpy()])
    scores = scores.mean().unstack().reindex(columns=keys)
    broken = rows[rows["broken"]].set_axis(where[0][rows["broken"].to_numpy()])[["cell"]]
    complete = (board.table["coverage"] == 1).to_numpy()
    ranked = board.table["kind"].isin(RANKED).to_numpy()
    table, groups = [], []
    for name, index in members.items():
        part = scores[scores.index.isin(index)]
        mean, low, high = _means(part, complete, ranked, bounds, resamples, seed)
        bad = broken[broken.index.isin(index)].reset_index().groupby("cell")["image_id"].nunique()
        images = part.notna().groupby(level=0).any().sum()
        table.append(pd.DataFrame({
            "group": name, "method": methods, "mean": mean, "ci_low": low, "ci_high": high,
            "n_images": images.to_numpy(dtype=np.int64),
            "n_undefined": bad.reindex(keys, fill_value=0).to_numpy(dtype=np.int64),
            "kind": board.table["kind"].tolist(),
        }))  # fmt: skip
        known = pairs.loc[index]
        defined, right = known[known["defined"]], known[known["defined"]]["correct"].dropna().astype(float)
        groups.append((
            name, defined.index.get_level_values(0).nunique(), len(defined), len(known) - len(defined), right.mean()
        ))  # fmt: skip
    return pd.concat(table, ignore_index=True)[list(COLUMNS)], pd.DataFrame(groups, columns=list(GROUP_COLUMNS))


def _means(
    scores: pd.DataFrame, complete: np.ndarray, ranked: np.ndarray, bounds: Bounds | None, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means over pairs and ends of their intervals over images, (methods,) each, of scores (pairs, methods).

    Methods that are complete share their pairs, the others have their own. Images are resampled with all their pairs.
    """
    mean, low, high = (np.full(scores.shape[1], np.nan) for _ in range(3))
    for group in [np.flatnonzero(complete), *np.flatnonzero(~complete)[:, None]]:
        values = scores.iloc[:, group].dropna()
        if not len(group) or not len(values):
            continue
        sums = values.assign(pairs=1.0).groupby(level=0).sum().to_numpy()
        mean[group] = values.to_numpy().mean(axis=0)
        low[group], high[group] = intervals_of_methods(
            sums[:, :-1], ranked[group], sums[:, -1], bounds=bounds, resamples=resamples, seed=seed
        )
    return mean, low, high


def _counts(
    by: str, pairs: pd.DataFrame, groups: pd.DataFrame, names: list[str], missing: list[str], source: Source
) -> list[str]:
    """How images fall into groups, and which are in none."""
    images = dict(zip(groups["group"], groups["n_images"], strict=True))
    total = images.pop(ALL)
    if by == "correctness":
        sizes = ", ".join(f"{name} {number}" for name, number in images.items())
        notes = [f"images by correctness: {sizes}, of {total}"]
    else:
        few, many = min(images.values()), max(images.values())
        span = f"{few}" if few == many else f"{few} to {many}"
        notes = [f"{len(images)} of {len(names)} classes shown, with {span} images each, of {total} images"]
    inside = pairs[pairs["defined"] & pairs["group"].notna()].reset_index()
    several = int((inside.groupby("image_id")["group"].nunique() > 1).sum())
    if several:
        notes.append(f"{several} image{'' if several == 1 else 's'} in several groups: "
                     "more than one class is explained in them")  # fmt: skip
    left = int(groups["n_reference"].iloc[0])
    if left:
        notes.append(f"left out of all groups, as the reference is undefined: {left} explained classes or images")
    if by == "class" and not source.classes:
        notes.append("the run did not record the names of classes; a new run into the same folder does")
    return [*notes, *missing]
