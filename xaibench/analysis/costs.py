"""What the methods of a board cost: passes and seconds per image, from the records of its runs."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from xaibench.analysis.boards import Board
from xaibench.results.cells import Cell
from xaibench.results.manifest import RunManifest

COLUMNS = {
    "passes": "forward_equivalents_alone", "passes_shared": "forward_equivalents_shared",
    "seconds": "seconds_alone", "seconds_shared": "seconds_shared",
}  # fmt: skip
"""Columns of a board, and the fields of `results.records.MethodCosts` that they are."""


def with_costs(table: pd.DataFrame, board: Board) -> tuple[pd.DataFrame, list[str]]:
    """A board's table with `COLUMNS` (float64, NaN where nothing is recorded), and what a reader must know of them.

    Each method has the numbers of the newest run that made its maps. A board whose runs recorded none stays as it is.
    """
    runs = {cell.method_name: run for cell in board.cells if (run := newest_run_with_costs(cell, board.runs))}
    if not runs:
        return table, []
    found = [runs[name].costs[name] if name in runs else {} for name in table["method"]]
    columns = {column: [cost.get(field, float("nan")) for cost in found] for column, field in COLUMNS.items()}
    columns |= {"cost_images": pd.array([cost.get("images", pd.NA) for cost in found], dtype="Int64")}
    return table.assign(**columns), _notes(runs)


def newest_run_with_costs(cell: Cell, runs: Sequence[RunManifest]) -> RunManifest | None:
    """The last of some runs, oldest first, that has this result key and made maps of its method."""
    return next((run for run in reversed(runs) if cell.key in run.cells and cell.method_name in run.costs), None)


def _notes(runs: dict[str, RunManifest]) -> list[str]:
    """Where the numbers were measured, and whether those of several runs may be compared."""
    by_run: dict[str, RunManifest] = {run.run: run for run in runs.values()}
    ways = {
        f"{run.device or 'an unknown device'}, {run.precision or 'unknown precision'}, batches of {run.batch_size}"
        for run in by_run.values()
    }
    images = [run.costs[name]["images"] for name, run in runs.items()]
    maps = [run.costs[name]["maps"] / run.costs[name]["images"] for name, run in runs.items()]
    over = f"{min(images)}" if min(images) == max(images) else f"{min(images)} to {max(images)}"
    several = f" with {max(maps):.1f} explained classes each" if max(maps) > 1 else ""
    notes = [f"passes and seconds are means over {over} images{several}, on {'; '.join(sorted(ways))}"]
    if len(ways) > 1:
        notes.append("seconds of this board were measured in several ways and are not to be compared")
    return notes
