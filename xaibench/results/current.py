"""Which stored results are current: the highest version of a card wins, then the date.

A request (protocol with its settings, data, model, weights, profile, seed, precision, and a method) may have results of
several versions: of a card whose numbers moved, or of a file of somebody's own before it was edited. Boards show the
current ones; `current.parquet` says the same to whoever reads the rows without xaibench.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xaibench.files import write_atomic
from xaibench.hashing import digest
from xaibench.results.cells import Cell
from xaibench.results.manifest import RunManifest, load_runs
from xaibench.results.store import Store

FILE = "current.parquet"
CARDS = ("protocol", "dataset", "model", "reference")
BESIDE_REQUEST = frozenset({"version", "source", "label", "notes"})  # fields of a part that no user asked for
SCHEMA = pa.schema(
    [
        pa.field("cell", pa.string(), nullable=False),
        pa.field("current", pa.bool_(), nullable=False),
        pa.field("board", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("protocol_version", pa.int32()),
        pa.field("method_version", pa.int32()),
        pa.field("registered", pa.string()),
    ]
)


@dataclass(frozen=True)
class Dates:
    """When each cell was run last, from records of runs, and which were computed in TF32 and say float32."""

    last: Mapping[str, str]
    tf32: frozenset[str]

    @classmethod
    def of(cls, runs: Iterable[RunManifest]) -> Dates:
        """From all records of a folder, oldest first."""
        runs = list(runs)
        return cls(
            {key: run.started for run in runs for key in run.cells},
            frozenset(key for run in runs if run.is_tf32_as_float32 for key in run.cells),
        )

    def rank(self, cell: Cell) -> tuple[int, str, str]:
        """What orders results of one method in one context: its card's version, the last run, the first sight. An edit
        that is taken back makes the old cell the newest again, once it is run."""
        return _version(cell.method), self.last.get(cell.key, ""), cell.registered or ""


def request_key(context: Mapping[str, Any]) -> str:
    """A digest of what a user asked for in a context: all of it but versions of cards, code, and devices."""
    asked = {name: _asked(part) for name, part in context.items() if name != "arithmetic"}
    protocol = context.get("protocol") or {}
    return digest(asked | {"protocol": {name: protocol.get(name) for name in ("name", "settings")}})


def successors(cells: Iterable[Cell], dates: Dates) -> dict[str, Cell]:
    """For the key of each board that is not current, a cell of the board that took its place: of the same request, with
    a higher version of a card, or else run later."""
    newest: dict[str, tuple[tuple, Cell]] = {}  # by board: the rank of its newest cell
    for cell in cells:
        versions = tuple(_version(cell.context.get(part)) for part in CARDS)
        rank = (cell.key not in dates.tf32, versions, *dates.rank(cell)[1:], cell.board)
        if cell.board not in newest or rank > newest[cell.board][0]:
            newest[cell.board] = rank, cell
    best: dict[str, tuple[tuple, Cell]] = {}
    for rank, cell in newest.values():
        request = request_key(cell.context)
        best[request] = max(best.get(request, (rank, cell)), (rank, cell), key=lambda item: item[0])
    found = {board: best[request_key(cell.context)][1] for board, (_, cell) in newest.items()}
    return {board: cell for board, cell in found.items() if cell.board != board}


def current_cells(cells: Iterable[Cell], dates: Dates) -> set[str]:
    """The keys of the current cells: of each method of a current board the newest. Rows that were computed in TF32 and
    say float32 never are."""
    cells = list(cells)
    replaced = successors(cells, dates)
    newest: dict[tuple[str, str], Cell] = {}
    for cell in sorted(cells, key=dates.rank):
        newest[cell.board, cell.method_name] = cell
    return {cell.key for cell in newest.values() if cell.board not in replaced and cell.key not in dates.tf32}


def write_current(store: Store) -> None:
    """Writes `current.parquet`: one row for each cell of the folder, joined with the rows by the column `cell`."""
    cells = list(store.cells().values())
    current = current_cells(cells, Dates.of(load_runs(store)))
    rows = [
        {
            "cell": cell.key,
            "current": cell.key in current,
            "board": cell.board,
            "title": cell.title,
            "protocol_version": _version(cell.context.get("protocol")),
            "method_version": _version(cell.method) if cell.method else None,
            "registered": cell.registered,
        }
        for cell in cells
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), buffer)
    write_atomic(store.root / FILE, buffer.getvalue())


def _version(part: Mapping[str, Any] | None) -> int:
    return int((part or {}).get("version") or 1)


def _asked(part: Any) -> Any:
    return {k: v for k, v in part.items() if k not in BESIDE_REQUEST} if isinstance(part, Mapping) else part
