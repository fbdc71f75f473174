"""What a replay found: both numbers of each row, and what is verified by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from xaibench import __version__
from xaibench.cards import PublishedWeights
from xaibench.hashing import sha256_of
from xaibench.models.download import address
from xaibench.models.published import known_places
from xaibench.models.state import file_digest
from xaibench.results.cells import Cell, metric_range
from xaibench.results.equality import TOLERANCE, scale_of, scores_equal
from xaibench.results.schema import IDENTITY
from xaibench.submission.draw import PROBABILITY, SHARE, Draw, needed
from xaibench.submission.record import chances, is_verified, weights_published_for

SAID = ("prediction", "label", "correct")  # of a row, beside its score and status
FORMAT, FORMAT_VERSION = "xaibench-replay", 1


def compared_rows(
    stored: pd.DataFrame, again: pd.DataFrame, cells: Mapping[str, Cell], largest: Mapping[tuple[str, str], float]
) -> pd.DataFrame:
    """Each row that was drawn, with both scores and whether it is equal in score, status, label, and what the model
    says of the image. A row that only one side has is not.

    stored, again: the rows that were drawn, as submitted and as computed again. largest: see `record.rows_of`.
    """
    sides = []
    for frame in (stored, again):
        frame = frame[[*IDENTITY, "score", "status", *SAID]].copy()
        frame["target"] = frame["target"].astype("Int64").fillna(-1)
        frame["n"] = frame.groupby(list(IDENTITY)).cumcount()  # instances of one class, in the order of the image
        frame["score"] = frame["score"].astype(float)
        for name in SAID:
            frame[name] = [-1 if pd.isna(value) else int(value) for value in frame[name]]
        sides.append(frame)
    both = sides[0].merge(sides[1], on=[*IDENTITY, "n"], how="outer", suffixes=("", "_again"), indicator=True)
    scale = []
    for key, metric in zip(both["cell"], both["metric"], strict=True):
        bounds = metric_range(cells[key].context["protocol"], metric)
        scale.append(scale_of(float(largest.get((key, metric), 0.0)), bounds))
    both["equal"] = (
        scores_equal(both["score"], both["score_again"], metric=both["metric"], scale=scale)
        & (both["status"] == both["status_again"]).to_numpy()
        & (both["_merge"] == "both").to_numpy()
    )
    for name in SAID:
        both["equal"] &= both[name] == both[f"{name}_again"]
    return both


def record_of(
    name: str, draw: Draw, there: Mapping[str, int], chosen: Sequence[tuple[str, str]], compared: pd.DataFrame,
    cells: Mapping[str, Cell],
) -> dict[str, Any]:  # fmt: skip
    """The record of a replay, in plain JSON values.

    A result is verified where enough of it was replayed (`draw.needed`), nothing of the whole submission was unequal,
    and everybody can get its weights. there: of each result the number of its images.
    """
    equal = bool(compared["equal"].all()) and len(compared) > 0
    again, total = Counter(key for key, _ in chosen), sum(there.values())
    by_weights = {_weights_of(cell): cell for cell in cells.values()}  # whose files are read once, however many results
    public_weights = {weights: has_public_weights(cell) for weights, cell in by_weights.items()}
    results = {}
    for key in sorted(cells):
        public, minimum = public_weights[_weights_of(cells[key])], needed(there.get(key, 0))
        results[key] = {
            "method": cells[key].method_name, "results": there.get(key, 0), "replayed": again[key], "minimum": minimum,
            "public_weights": public, "verified": is_verified(equal, public, again[key], minimum),
        }  # fmt: skip
    return {
        "format": FORMAT, "format_version": FORMAT_VERSION, "xaibench": __version__, "submission": name,
        "fresh": draw.fresh, "fresh_source": draw.source, "asked": "all" if draw.count is None else draw.count,
        "results": total, "replayed": len(chosen), "tolerance": TOLERANCE, "equal": equal, "cells": results,
        "minimum": {"share": SHARE, "probability": PROBABILITY},
        "found": chances(total, len(chosen)),
        "rows": [
            {"cell": row.cell, "image_id": row.image_id, "target": int(row.target) if row.target >= 0 else None,
             "unit": row.unit, "metric": row.metric, "submitted": _number(row.score),
             "replayed": _number(row.score_again), "equal": bool(row.equal)} for row in compared.itertuples()
        ],
    }  # fmt: skip


def _number(score: float) -> float | None:
    """A score, None where it is undefined or on one side only: JSON has no NaN."""
    return None if pd.isna(score) else float(score)


def has_public_weights(cell: Cell) -> bool:
    """Whether a result's weights are those that the card of its model publishes: the file here has the SHA-256 that the
    card states, and the digest of the key."""
    return any(_is_here(weights, _weights_of(cell)[1]) for weights in weights_published_for(cell))


def _weights_of(cell: Cell) -> tuple[str, str | None]:
    """The model of a result, and the digest of its weights."""
    return cell.context["model"]["name"], (cell.context.get("weights") or {}).get("digest")


def _is_here(weights: PublishedWeights, digest: str | None) -> bool:
    """Whether the file with a digest is here, and the one that is published."""
    stated = weights.sha256 if weights.package else address(weights)[1]
    here = [path for path in known_places(weights) if path.is_file() and file_digest(path) == digest]
    return bool(stated) and any(sha256_of(path).startswith(stated.lower()) for path in here)
