"""Records of replays that were never run, made by code of its own: hashlib, NumPy and SciPy, not the package's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import hypergeom

from xaibench.results.store import Store
from xaibench.submission.archive import FILE


def made_record(
    root: Path, asked: int | str = 6, changed: int = 0, public: bool = True, fresh: str = "ab" * 16
) -> dict:
    """The record of an honest replay of a submission's folder, but for so many rows that came out otherwise."""
    store = Store.open(root)
    cells, rows = store.cells(), store.rows()
    name = hashlib.sha256((root / FILE).read_bytes()).hexdigest()
    pairs = sorted({(row.cell, row.image_id) for row in rows.itertuples()})
    chosen = pairs
    if asked != "all" and asked < len(pairs):
        seed = int(hashlib.sha256(f"{name}:{fresh}".encode()).hexdigest(), 16)
        chosen = [pairs[i] for i in sorted(np.random.default_rng(seed).choice(len(pairs), asked, replace=False))]
    said: list[dict[str, Any]] = []
    for row in rows.itertuples():
        if (row.cell, row.image_id) in chosen:
            other = row.score + (0.5 if len(said) < changed else 1e-7)
            said.append({"cell": row.cell, "image_id": row.image_id, "target": int(row.target), "unit": row.unit,
                         "metric": row.metric, "submitted": row.score, "replayed": other,
                         "equal": len(said) >= changed})  # fmt: skip
    counts = {key: sum(cell == key for cell, _ in chosen) for key in cells}
    chance = {share: 1 - hypergeom.pmf(0, len(pairs), max(1, round(float(share) * len(pairs))), len(chosen))
              for share in ("0.01", "0.05", "0.2")}  # fmt: skip
    return {
        "format": "xaibench-replay", "format_version": 1, "xaibench": "0.2", "submission": name, "fresh": fresh,
        "asked": asked, "results": len(pairs), "replayed": len(chosen), "tolerance": 1e-4, "equal": not changed,
        "cells": {key: {"method": cells[key].method_name, "replayed": counts[key], "public_weights": public,
                        "verified": public and not changed and counts[key] > 0} for key in sorted(cells)},
        "found": {share: round(float(value), 4) for share, value in chance.items()}, "rows": said,
    }  # fmt: skip
