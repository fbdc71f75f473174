"""Which boards of a results folder are published, and the reasons against it: nothing incomplete or mixed goes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xaibench.analysis.boards import Board, boards, short_key
from xaibench.errors import XaibenchError
from xaibench.publication.index import Index
from xaibench.results.cells import Cell, part_name
from xaibench.results.completion import missing_images
from xaibench.results.manifest import RunManifest, finish_command, longer_command, safe_command
from xaibench.results.shard_files import open_shard, reading
from xaibench.results.store import Store
from xaibench.results.validate import inspect

Newest = Callable[[str, str], int | None]


@dataclass(frozen=True)
class Selection:
    """Which boards of a results folder to publish: names or wildcards, and the first digits of a board's key; None
    takes all."""

    protocol: str | None = None
    model: str | None = None
    dataset: str | None = None
    board: str | None = None


@dataclass(frozen=True)
class Taken:
    """A board that is published, the folder that it comes from, its image list in order, and the board folder that may
    have its photos already."""

    board: Board
    store: Store
    images: tuple[str, ...]
    photos: Path | None = None


@dataclass(frozen=True)
class Collected:
    """What is published, ordered by protocol, data set, model and key; notes: what was left out and why; reasons:
    everything that speaks against it, each with what to do."""

    taken: list[Taken]
    notes: list[str]
    reasons: list[str]


def collect(store: Store, selection: Selection, newest: Newest) -> Collected:
    """The boards of a results folder that fit, with the reasons against publishing them.

    newest: the installed version of a card of a kind and a name. Boards that newer versions in the same folder replaced
    are left out, and a note says so, unless `selection.board` names one. Raises XaibenchError where nothing fits.
    """
    found = boards(store, selection.protocol, model=selection.model, dataset=selection.dataset, board=selection.board)
    if not found:
        raise XaibenchError(f"no board in {store.root} fits; `xaibench status --out {store.root}` lists what there is")
    old = [] if selection.board else [one for one in found if one.successor is not None]
    notes = [f"left out: {one.title}" for one in old]
    notes += [
        f"left out: an older version of {cell.method_name} on {one.title} (cell {cell.key})"
        for one in found if one not in old for cell in one.older
    ]  # fmt: skip
    current = [one for one in found if one not in old]
    problems = inspect(store.root).problems
    reasons = [f"{store.root} is damaged: {problem}; mend it first" for problem in problems]
    if problems:  # nothing else that is read can be relied on
        return Collected([], notes, reasons)
    versions = _schemas(store)
    for board in current:
        name = f"board {short_key(board, found)} ({board.title})"
        reasons += [f"{name}: {reason}" for reason in _against(board, store, newest, versions)]
    taken = [Taken(board, store, tuple(board.image_list(store) or ())) for board in current]
    return Collected(sorted(taken, key=order_of), notes, reasons)


def published(store: Store, index: Index) -> list[Taken]:
    """The boards of a board folder, with those results alone that its index names.

    Raises XaibenchError where the folder is damaged, or lacks any of them.
    """
    for problem in inspect(store.root).problems:
        raise XaibenchError(f"{store.root} is damaged: {problem}; fetch that folder anew, nothing of it was changed")
    cells = {entry.key: set(entry.cells) for entry in index.boards}
    found = [one for one in boards(store) if one.key in cells]
    found = [replace(one, cells=tuple(c for c in one.cells if c.key in cells[one.key]), older=()) for one in found]
    if len(found) < len(cells):
        raise XaibenchError(f"{store.root} lacks results of boards that its index names; fetch the folder anew")
    lists = {entry.key: tuple(store.load_list(entry.image_list)) for entry in index.boards}
    return sorted((Taken(one, store, lists[one.key]) for one in found), key=order_of)


def order_of(taken: Taken) -> tuple[str, ...]:
    """What orders boards: protocol, data set, model, key."""
    context = taken.board.context
    names = [part_name(context, part) for part in ("protocol", "dataset", "model")]
    return (*names, taken.board.key)


def _against(board: Board, store: Store, newest: Newest, versions: dict[Path, int]) -> Iterator[str]:
    """The reasons against publishing a board."""
    images = board.image_list(store)
    if images is None:
        yield "no run of it is recorded, so its image list is not known; give its run command again"
        return
    if board.is_tf32_as_float32:
        yield "it was computed in TF32 and says float32; compute it again"
    elif board.successor is not None:
        yield f"{board.age}; publish the newer one"
    if old := board.outdated(newest):
        yield f"made with {'; '.join(old)}; compute it again: {_again(board.run, store)}"
    if going := [run.run for run in board.runs if run.status == "running"]:
        yield f"run {going[0]} still runs; wait until it ends"
    done = store.done(cell.key for cell in board.cells)
    missing = missing_images([cell.key for cell in board.cells], images, done)
    if missing:
        lacking = [cell for cell in board.cells if cell.key in missing]
        worst = max(lacking, key=lambda cell: (len(missing[cell.key]), cell.method_name))
        command = _all_images(_run_of(worst, board), store, images)
        yield (
            f"{len(lacking)} of {len(board.cells)} methods lack images, such as {worst.method_name} "
            f"{len(missing[worst.key])} of {len(images)}; to compute them: {command}"
        )
    yield from _mixed(board, store, images, versions)


def _mixed(board: Board, store: Store, images: Sequence[str], versions: dict[Path, int]) -> Iterator[str]:
    """The reasons against a board whose results do not belong together."""
    for run in board.runs:
        listed = run.images.get("list")
        if run.status == "complete" and listed and (more := set(store.load_list(listed)) - set(images)):
            yield (
                f"run {run.run} has {len(more)} images that the newest run of this board has not; give the command of "
                f"the longer one again, which computes nothing twice: {_again(run, store)}"
            )
            return
    keys = [cell.key for cell in board.cells]
    if len(set(versions.values())) > 1:
        found = {v: {key for key, ids in store.done(keys, [p for p, w in versions.items() if w == v]).items() if ids}
                 for v in sorted(set(versions.values()))}  # fmt: skip
        if sum(map(bool, found.values())) > 1:
            yield (
                f"its rows have several schemas ({', '.join(str(v) for v, some in found.items() if some)}), of which "
                "the older lacks columns; compute it anew in another folder"
            )


def _schemas(store: Store) -> dict[Path, int]:
    """The version of the schema of each shard."""
    found = {}
    for path in store.shards():
        with reading(path, store.root):
            file, found[path] = open_shard(path)
            file.close()
    return found


def _run_of(cell: Cell, board: Board) -> RunManifest | None:
    return next((run for run in reversed(board.runs) if cell.key in run.cells), board.run)


def _all_images(run: RunManifest | None, store: Store, images: Sequence[str]) -> str:
    """The command that computes all images of a list for a run's methods, also where the run had fewer."""
    if run is None or not run.images.get("list") or set(images) <= set(store.load_list(run.images["list"])):
        return _again(run, store)
    return longer_command(run.command, len(images), store.root)


def _again(run: RunManifest | None, store: Store) -> str:
    if run is None:
        return "its run command"
    return finish_command(run, store.root) if run.status == "partial" else safe_command(run.command, store.root)
