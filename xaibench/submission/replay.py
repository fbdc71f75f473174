"""Replays a part of a submission: draws results, computes them again in a process of its own, and compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from xaibench.errors import XaibenchError
from xaibench.results.parts import Parts
from xaibench.results.store import Store
from xaibench.submission.computed import COLUMNS
from xaibench.submission.draw import Draw, seed_of
from xaibench.submission.manifest import Submission, submission_hash
from xaibench.submission.outcome import compared_rows, record_of
from xaibench.submission.process import HERE, USUAL, Limits, Where, rows_apart
from xaibench.submission.record import counts_of, drawn_of, rows_of


def replay(
    root: Path,
    submission: Submission,
    draw: Draw,
    *,
    trust: bool = False,
    where: Where = HERE,
    limits: Limits = USUAL,
    hidden: tuple[Path, ...] = (),
) -> dict[str, Any]:
    """The record of a replay of a checked submission (unpacked in root): what was drawn, with both numbers of each row.

    trust: foreign code may run; without, nothing is replayed, whatever would be drawn, since else whether it runs would
    be a matter of chance. hidden: further places of the submission, which its code must not read.

    Raises XaibenchError where something cannot be computed here, or the process ended or was stopped.
    """
    if submission.foreign and not trust:
        raise XaibenchError(
            f"to compute {', '.join(sorted(submission.foreign))} again its code must run here: read it, and say "
            "--trust (in a container without network, see docs/submitting.md)"
        )
    store, name = Store.open(root), submission_hash(root)
    cells, rows = store.cells(), Parts(store)
    counts = counts_of(rows)
    chosen = drawn_of(rows, counts, draw.count, seed_of(name, draw.fresh))
    stored, largest = rows_of(rows, chosen)
    digests = dict(zip(stored["image_id"], stored["image_digest"], strict=True))
    found: list[dict[str, Any]] = []
    for foreign in (False, True):  # code of others never meets that of xaibench
        wanted: dict[str, list[str]] = {}
        for key, image_id in chosen:
            if (cells[key].method["name"] in submission.foreign) is foreign:
                wanted.setdefault(key, []).append(image_id)
        if wanted:
            used = {image_id: digests[image_id] for ids in wanted.values() for image_id in ids}
            found += rows_apart(root, submission, wanted, used, foreign, where, limits, hidden)
    again = pd.DataFrame(found, columns=[*COLUMNS])
    return record_of(name, draw, counts, chosen, compared_rows(stored, again, cells, largest), cells)
