"""Records of replays that were never run, made by code of its own: hashlib, NumPy and SciPy, not the package's."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import hypergeom

from xaibench import registry
from xaibench.results.cells import Cell
from xaibench.results.manifest import load_runs
from xaibench.results.schema import row_table
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
    there = {key: sum(cell == key for cell, _ in pairs) for key in cells}
    least = {key: next(n for n in range(count + 1) if hypergeom.sf(0, count, -(-count // 5), n) >= 0.95)
             for key, count in there.items()}  # fmt: skip
    chance = {share: 1 - hypergeom.pmf(0, len(pairs), max(1, round(float(share) * len(pairs))), len(chosen))
              for share in ("0.01", "0.05", "0.2")}  # fmt: skip
    return {
        "format": "xaibench-replay", "format_version": 1, "xaibench": "0.2", "submission": name, "fresh": fresh,
        "fresh_source": "drawn",
        "asked": asked, "results": len(pairs), "replayed": len(chosen), "tolerance": 1e-4, "equal": not changed,
        "cells": {key: {"method": cells[key].method_name, "results": there[key], "replayed": counts[key],
                        "minimum": least[key], "public_weights": public,
                        "verified": public and not changed and counts[key] >= least[key]} for key in sorted(cells)},
        "minimum": {"share": 0.2, "probability": 0.95},
        "found": {share: round(float(value), 4) for share, value in chance.items()}, "rows": said,
    }  # fmt: skip


def own_results(packed: Path, root: Path, methods: tuple[str, ...] = ("ixg", "random")) -> Path:
    """A results folder with some of the results of another, and of `saliency`, which that has not, from a run of its
    own: those of who keeps a board."""
    old, new = Store.open(packed), Store.create(root)
    cells = [cell for cell in old.cells().values() if cell.method_name in methods]
    card = registry.card("method", "saliency")
    part = {"name": card.name, "version": card.version, "parameters": dict(card.parameters),
            "transform": card.transform, "source": "", "kind": card.role}  # fmt: skip
    others = [(cell, cell.key) for cell in cells] + [(Cell(cells[0].context, part), cells[0].key)]
    cells = [cell for cell, _ in others]
    new.register(cells)
    for cell, origin in others:
        rows = old.rows([origin]).assign(cell=cell.key, method=cell.method_name)
        new.append(row_table({column: rows[column] for column in rows.columns}))
    (run,) = load_runs(old)
    images = {"list": new.save_list(old.load_list(run.images["list"])), "count": run.images["count"]}
    replace(run, run="20260101T000000Z-0000aa", cells=[cell.key for cell in cells], images=images).save(new)
    return root
