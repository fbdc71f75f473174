"""Which boards a results folder holds: the cells that share a context, their runs and their list of images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from xaibench.errors import XaibenchError
from xaibench.hashing import digest
from xaibench.results.cells import Cell, describe, part_name
from xaibench.results.current import CARDS, Dates, successors
from xaibench.results.manifest import RunManifest, load_runs
from xaibench.results.store import Store

TF32_STORED = "TF32 (stored as float32 before 0.2)"


@dataclass(frozen=True)
class Board:
    """Methods that may be compared with each other, because everything else is the same.

    cells: one per method, the newest. older: cells of the same methods that a newer one replaced, such as those of a
    plug-in file before it was edited. runs: those that computed or used a cell of this board, oldest first. context:
    that of the cells, except for a precision that they do not have (`TF32_STORED`). successor: the context of the board
    that took its place, with a newer version of a card or of somebody's own code; None where it is current.
    """

    key: str
    context: dict[str, Any]
    cells: tuple[Cell, ...]
    older: tuple[Cell, ...]
    runs: tuple[RunManifest, ...]
    successor: dict[str, Any] | None = None

    @property
    def title(self) -> str:
        """The context in one line, and its age."""
        return " · ".join(filter(None, [describe(self.context), self.age]))

    @property
    def age(self) -> str:
        """With which versions of cards it was made where a newer one took its place, "" for a current board."""
        if self.successor is None or self.is_tf32_as_float32:  # its precision says what is wrong with it
            return ""
        pairs = [(self.context.get(part) or {}, self.successor.get(part) or {}) for part in CARDS]
        old = [f"{a['name']} version {a.get('version', 1)}" for a, b in pairs if a.get("version") != b.get("version")]
        return f"replaced: {', '.join(old) or 'run before'}"

    @property
    def is_tf32_as_float32(self) -> bool:
        """Whether any of its rows was computed in TF32 and stored as float32."""
        return any(run.is_tf32_as_float32 for run in self.runs)

    @property
    def is_current(self) -> bool:
        """Whether no newer board took its place, and its precision is what it says."""
        return self.successor is None and not self.is_tf32_as_float32

    def outdated(self, newest: Callable[[str, str], int | None]) -> list[str]:
        """Cards with newer versions than those of its rows, such as `rise version 1, now 2`.

        newest gives the version of the installed card of a kind and a name, None where there is none.
        """
        parts = [(part if part != "reference" else "model", self.context.get(part)) for part in CARDS]
        parts += [("method", cell.method) for cell in self.cells]
        found = [(part["name"], part.get("version", 1), newest(kind, part["name"])) for kind, part in parts if part]
        return [f"{name} version {old}, now {now}" for name, old, now in found if now is not None and now > old]

    @property
    def run(self) -> RunManifest | None:
        """The run whose image list is the board's: the newest that is complete or running, else the newest."""
        good = [run for run in self.runs if run.status in ("complete", "running")]
        return (good or list(self.runs) or [None])[-1]

    @property
    def newest(self) -> str:
        """When the newest run of the board started, or its newest cell was registered (ISO, UTC)."""
        return max([run.started for run in self.runs] or [cell.registered or "" for cell in self.cells])

    def image_list(self, store: Store) -> list[str] | None:
        """The ids that every method is to have; None if no run of the board is recorded."""
        return store.load_list(self.run.images["list"]) if self.run and self.run.images.get("list") else None


def boards(
    store: Store,
    protocol: str | None = None,
    *,
    model: str | None = None,
    dataset: str | None = None,
    board: str | None = None,
) -> list[Board]:
    """The boards of a store that fit (`fitting`), the one with the newest run first; after them those that newer
    versions replaced, and those in TF32 that say float32."""
    return fitting(_every(store), protocol, model=model, dataset=dataset, board=board)


def fitting(
    every: Iterable[Board], protocol: str | None = None, *, model: str | None = None, dataset: str | None = None,
    board: str | None = None,
) -> list[Board]:  # fmt: skip
    """Those of some boards that fit, in their order.

    Args:
        protocol, model, dataset: names or wildcards such as `resnet*`; None fits all.
        board: the first digits of a board's key.
    """
    wanted = {"protocol": protocol, "model": model, "dataset": dataset}
    return [
        found
        for found in every
        if found.key.startswith(board or "")
        and all(fits(part_name(found.context, part), name) for part, name in wanted.items())
    ]


def _every(store: Store) -> list[Board]:
    """All boards, in the order of `boards`."""
    runs = load_runs(store)
    dates, cells = Dates.of(runs), list(store.cells().values())
    replaced = successors(cells, dates)
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.board].append(cell)
    found = [
        replace(_board(key, cells, runs, dates), successor=replaced[key].context if key in replaced else None)
        for key, cells in groups.items()
    ]

    def rank(item: Board) -> tuple:
        return not item.is_tf32_as_float32, item.successor is None, item.newest, item.key

    return sorted(found, key=rank, reverse=True)


def choose(
    known: Sequence[Board], root: object, protocol: str, *, model: str | None = None, dataset: str | None = None,
    board: str | None = None,
) -> tuple[Board, list[Board]]:  # fmt: skip
    """The board to show and the others of the protocol, in the order of `known`, all boards of the folder `root`; other
    arguments as for `fitting`.

    Raises XaibenchError that lists what is there when nothing fits, or when `board` begins several keys.
    """
    every = fitting(known, protocol)
    if not every:
        names = sorted({item.context["protocol"]["name"] for item in known})
        raise XaibenchError(
            f"{root} has no results of {protocol!r}; it has {', '.join(names) or 'none of any protocol yet'}"
        )
    found = fitting(every, protocol, model=model, dataset=dataset, board=board)
    if not found:
        there = "; ".join(f"{item.title} (--board {short_key(item, every)})" for item in every)
        raise XaibenchError(f"no board of {protocol} in {root} fits these options; there are: {there}")
    if board and len(found) > 1:
        raise XaibenchError(f"--board {board} begins several keys: {', '.join(item.key for item in found)}")
    return found[0], [item for item in every if item.key != found[0].key]


def short_key(board: Board, others: Iterable[Board]) -> str:
    """The shortest beginning of the key, six digits or more, that no other board shares."""
    keys = [other.key for other in others if other.key != board.key]
    length = next(n for n in range(6, 17) if n == 16 or not any(key.startswith(board.key[:n]) for key in keys))
    return board.key[:length]


def rest_of(board: Board, differing: Iterable[str]) -> str:
    """A digest of a board's context without labels and parts that may differ, such as `model` or `dataset.masks`."""
    left_out = {*differing, "arithmetic"}  # float32 on any device
    kept = {part: value for part, value in board.context.items() if part not in left_out}
    return digest({
        part: {k: v for k, v in value.items() if k != "label" and f"{part}.{k}" not in left_out}
        if isinstance(value, dict) else value
        for part, value in kept.items()
    })  # fmt: skip


def accuracy_of(run: RunManifest | None) -> tuple[float, str]:
    """A model's accuracy in [0, 1], on the validation images of its training where it was trained here, else on those
    that were evaluated, and which of the two images these are; NaN and "" where neither is known."""
    training, seen = (run.training, run.accuracy) if run else (None, None)
    if training and "accuracy" in training.get("metrics", {}):
        return training["metrics"]["accuracy"], "validation images"
    if seen and seen["images"]:
        return seen["correct"] / seen["images"], "evaluated images"
    return float("nan"), ""


def fits(name: str, wanted: str | None) -> bool:
    """Whether a name is the wanted one, or matches its wildcards; None fits all."""
    return wanted is None or fnmatchcase(name, wanted)


def _board(key: str, cells: list[Cell], runs: list[RunManifest], dates: Dates) -> Board:
    ordered = sorted(cells, key=dates.rank)
    newest = {cell.method_name: cell for cell in ordered}
    keys = {cell.key for cell in cells}
    own = tuple(run for run in runs if keys & set(run.cells))
    tf32 = {"precision": TF32_STORED} if any(run.is_tf32_as_float32 for run in own) else {}
    return Board(
        key,
        ordered[-1].context | tf32,
        tuple(newest.values()),
        tuple(cell for cell in ordered if newest[cell.method_name] is not cell),
        own,
    )
