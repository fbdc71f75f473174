"""Whether the record of a replay is that of a submission: its draw is done again, its numbers are those of the rows,
and what it concludes follows from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xaibench import registry
from xaibench.cards import PublishedWeights
from xaibench.errors import XaibenchError
from xaibench.publication.index import read_index
from xaibench.publication.submissions import replay_path
from xaibench.results.cells import Cell, metric_range
from xaibench.results.equality import TOLERANCE, scale_of, scores_equal
from xaibench.results.parts import Parts
from xaibench.results.replays import Replay, read_replay
from xaibench.results.schema import IDENTITY
from xaibench.results.store import Store
from xaibench.results.validate import Problem
from xaibench.submission.draw import PROBABILITY, SHARE, detection_probability, drawn, needed, seed_of

SHARES = (0.01, 0.05, 0.2)  # of forged results, for which a record says how likely one was found
DRAWN = (*IDENTITY, "score", "status", "image_digest", "prediction", "label", "correct")

Pair = tuple[str, str]  # the key of a result and an image


def counts_of(rows: Parts) -> dict[str, int]:
    """On how many images each result is, sorted by its key: what can be drawn is a result on an image."""
    found: dict[str, int] = {}
    for part in rows.read(["cell", "image_id"]):
        found |= part.groupby("cell")["image_id"].nunique().to_dict()
    return dict(sorted(found.items()))


def drawn_of(rows: Parts, counts: Mapping[str, int], count: int | None, seed: int) -> list[Pair]:
    """So many of all results on images (None: all), all equally likely, sorted; counts: see `counts_of`."""
    places = np.array(drawn(range(sum(counts.values())), count, seed), dtype=np.int64)
    ends = np.cumsum(list(counts.values()))
    images: dict[str, np.ndarray] = {}  # of each result that was drawn the places of its images, in their order
    for key, end in zip(counts, ends, strict=True):
        first, last = np.searchsorted(places, [end - counts[key], end])
        if first < last:
            images[key] = places[first:last] - (end - counts[key])
    found = []
    for part in rows.read(["cell", "image_id"], images):
        for key, own in part.groupby("cell")["image_id"]:
            ordered = sorted(own.unique())
            found += [(key, ordered[place]) for place in images[key]]
    return sorted(found)


def rows_of(rows: Parts, pairs: Collection[Pair]) -> tuple[pd.DataFrame, dict[Pair, float]]:
    """The rows of some results on images, and the largest size of a score by result and metric."""
    wanted, largest = pd.DataFrame(sorted(pairs), columns=["cell", "image_id"]), {}
    found = [pd.DataFrame(columns=[*DRAWN])]
    for part in rows.read(DRAWN, set(wanted["cell"])):
        largest |= part["score"].abs().groupby([part["cell"], part["metric"]]).max().to_dict()
        found.append(part.merge(wanted))
    return pd.concat(found[1:] or found, ignore_index=True), largest


def chances(results: int, replayed: int) -> dict[str, float]:
    """By the share of forged results, as text, how likely at least one of them was replayed, in [0, 1]."""
    return {
        f"{share:g}": round(detection_probability(results, max(1, round(share * results)), replayed), 4)
        for share in SHARES
    }


def record_problems(record: Replay, cells: Mapping[str, Cell], rows: Parts) -> Iterator[str]:
    """Why a record is not that of a replay of these results, a line each.

    cells: those of the submission, by key. rows: theirs.
    """
    cells = {key: cell for key, cell in cells.items() if cell.method is not None}
    if record.cells.keys() != cells.keys():
        yield "it is about other results than the submission has"
        return
    counts = {key: count for key, count in counts_of(rows).items() if key in cells}
    asked, results = None if record.asked == "all" else record.asked, sum(counts.values())
    chosen = drawn_of(rows, counts, asked, seed_of(record.submission, record.fresh))
    if (record.results, record.replayed) != (results, len(chosen)):
        yield f"it counts {record.replayed} of {record.results} results, and {len(chosen)} of {results} were drawn"
    if {(row.cell, row.image_id) for row in record.rows} != set(chosen):
        yield "its rows are not those that its number draws"
        return
    yield from number_problems(record, cells, rows)
    yield from _conclusions(record, cells, counts, Counter(key for key, _ in chosen))


def number_problems(record: Replay, cells: Mapping[str, Cell], rows: Parts) -> Iterator[str]:
    """Where its numbers are not those of the rows of some results, or equal and are not."""
    drawn_rows, largest = rows_of(rows, {(row.cell, row.image_id) for row in record.rows if row.cell in cells})
    stored: dict[tuple, list[float | None]] = {}
    for row in drawn_rows[[*IDENTITY, "score"]].itertuples(index=False):
        target = None if pd.isna(row.target) else int(row.target)
        score = None if pd.isna(row.score) else float(row.score)
        stored.setdefault((row.cell, row.image_id, target, row.unit, row.metric), []).append(score)
    said: dict[tuple, list[Any]] = {}
    for row in record.rows:
        if row.cell in cells:
            said.setdefault((row.cell, row.image_id, row.target, row.unit, row.metric), []).append(row)
    for place, found in said.items():
        scores = stored.pop(place, [])
        more = found[len(scores) :]  # rows that the replay alone has
        if [row.submitted for row in found[: len(scores)]] != scores or any(
            row.submitted is not None or row.equal for row in more
        ):
            yield f"a number of {place[1]!a} ({place[4]!a}) is not the one that was submitted"
            return
        key, metric = place[0], place[4]
        bounds = metric_range(cells[key].context["protocol"], metric)
        scale = scale_of(float(largest.get((key, metric), 0.0)), bounds)
        if any(row.equal and not _equal(row, scale) for row in found):
            yield f"two numbers of {place[1]!a} ({place[4]!a}) are called equal and are not"
            return
    if stored:
        yield f"a row of {next(iter(stored))[1]!a}, which was drawn, is not in it"


def _equal(row: Any, scale: float) -> bool:
    numbers = [float("nan") if value is None else value for value in (row.submitted, row.replayed)]
    return bool(scores_equal(*numbers, metric=row.metric, scale=scale))


def _conclusions(
    record: Replay, cells: Mapping[str, Cell], there: Mapping[str, int], again: Mapping[str, int]
) -> Iterator[str]:
    """Where what it says of the whole does not follow from its rows."""
    if record.tolerance != TOLERANCE:
        yield f"its tolerance is {record.tolerance:g}, not {TOLERANCE:g}"
    if record.equal != (bool(record.rows) and all(row.equal for row in record.rows)):
        yield "whether all rows are equal does not follow from its rows"
    if (record.minimum.share, record.minimum.probability) != (SHARE, PROBABILITY):
        yield "it asks for another least number of images than this xaibench"
    if record.found != chances(record.results, record.replayed):
        yield "how likely it found a forgery does not follow from how much it replayed"
    for key, one in record.cells.items():
        numbers = (there.get(key, 0), again.get(key, 0), needed(there.get(key, 0)))
        if one.method != cells[key].method_name or (one.results, one.replayed, one.minimum) != numbers:
            yield f"the result {key} has another method, or other numbers of images"
        if one.public_weights and not weights_published_for(cells[key]):
            yield f"the result {key} is said to have public weights, and its model's card publishes none"
        if one.verified and not is_verified(record.equal, one.public_weights, one.replayed, one.minimum):
            yield f"the result {key} is called verified, which does not follow from its rows"


def weights_published_for(cell: Cell) -> list[PublishedWeights]:
    """The weights that the card of a result's model publishes; without any nobody can replay it."""
    name = (cell.context.get("model") or {}).get("name")
    if registry.shipped_version("model", name) is None:
        return []
    card = registry.card("model", name)
    return [one for one in (card.plain, card.aligned) if one and (one.url or one.enum or one.package)]


def is_verified(equal: bool, public_weights: bool, replayed: int, minimum: int) -> bool:
    """Whether a result is verified. equal: all rows of its submission that were replayed. replayed, minimum: how many
    images of the result were, and have to be."""
    return equal and public_weights and replayed >= minimum


def replay_problems(root: Path) -> list[Problem]:
    """What is wrong with the records of replays in a board folder.

    As `record_problems` where the board has all results of a submission, on as many images; else, as where some were
    withdrawn, the numbers of those that it has. Raises XaibenchError where its index cannot be read.
    """
    store, found = Store.open(root), []
    for entry in read_index(root).submissions:
        for name in entry.replays:
            path = replay_path(name)
            try:
                record = read_replay(root / path)
            except XaibenchError as error:
                found.append(Problem(path, "replay", str(error)))
                continue
            there = {key: store.cell(key) for key in record.cells if store.has_cell(key)}
            rows = Parts(store, there)
            whole = len(there) == len(record.cells) and sum(counts_of(rows).values()) == record.results
            problems = list((record_problems if whole else number_problems)(record, there, rows))
            if record.submission != entry.submission:
                problems = ["it is of another submission than board.json says"]
            found += [Problem(path, "replay", text) for text in problems]
    return found
