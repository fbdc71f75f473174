"""Versions of a board folder: what earlier ones had stays, and what is withdrawn is listed with its reason."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from xaibench.analysis.boards import short_key
from xaibench.errors import XaibenchError
from xaibench.publication.collect import Taken
from xaibench.publication.comparisons import Comparison, withdrawn_comparison
from xaibench.publication.folder import OWN, equal_files, own_files
from xaibench.publication.gallery import dataset_label
from xaibench.publication.index import FILE, Index, VersionEntry, WithdrawnComparison, WithdrawnEntry
from xaibench.publication.sums import SUMS
from xaibench.results.cells import part_name
from xaibench.results.current import Dates, successors

VERSIONS = "versions"
WHOLE = frozenset({"boards", "comparisons", "figures", FILE})  # of each version
NOT_KEPT = frozenset({
    VERSIONS, SUMS, "README.md", "leaderboard.csv", "cells.parquet", "scores.parquet", "maps", "images",
})  # fmt: skip


def merged(new: Sequence[Taken], old: Sequence[Taken]) -> tuple[list[Taken], list[str], list[str]]:
    """New boards and those that were published before, where nothing newer replaces them; notes, and reasons against
    publishing: a method that would disappear, or a board older than what is published."""
    notes, reasons = [], []
    fresh = {one.board.key: one for one in new}
    kept = {one.board.key: one for one in old if one.board.key not in fresh}
    for before in old:
        if after := fresh.get(before.board.key):
            names = {cell.method_name for cell in after.board.cells}
            gone = sorted({cell.method_name for cell in before.board.cells} - names)
            if gone:
                reasons.append(
                    f"board {before.board.key[:6]} ({before.board.title}): {', '.join(gone)} is published and not in "
                    "these results; evaluate it on the same images, or withdraw it first: --withdraw"
                )
    every = [*fresh.values(), *kept.values()]
    runs = {run.run: run for one in every for run in one.board.runs}
    dates = Dates.of(sorted(runs.values(), key=lambda run: (run.started, run.run)))
    replaced = successors([cell for one in every for cell in one.board.cells], dates)
    for key in replaced:
        if key in fresh:
            reasons.append(
                f"board {key[:6]} ({fresh[key].board.title}) is older than the published {replaced[key].board[:6]}; "
                "publish newer results of it"
            )
        else:
            notes.append(f"replaced: {kept.pop(key).board.title}, which stays in its version")
    return [*fresh.values(), *kept.values()], notes, reasons


def without_withdrawn(taken: Iterable[Taken], withdrawn: Sequence[WithdrawnEntry]) -> tuple[list[Taken], list[str]]:
    """Boards without those, and those methods, that were withdrawn; and notes on them."""
    boards = {one.board for one in withdrawn if one.method is None}
    methods = {(one.board, one.method) for one in withdrawn if one.method is not None}
    left, notes = [], []
    for one in taken:
        cells = tuple(cell for cell in one.board.cells if (one.board.key, cell.method_name) not in methods)
        if one.board.key in boards or not cells:
            notes.append(f"left out: {one.board.title}, which was withdrawn")
            continue
        gone = [cell.method_name for cell in one.board.cells if cell not in cells]
        notes += [f"left out: {name} on {one.board.title}, which was withdrawn" for name in gone]
        left.append(replace(one, board=replace(one.board, cells=cells)))
    return left, notes


def withdrawals(
    taken: Sequence[Taken], comparisons: Sequence[Comparison], names: Sequence[str], reason: str, index: Index
) -> tuple[list[WithdrawnEntry], list[WithdrawnComparison]]:
    """The entries of what is withdrawn now: boards by the first digits of their key, models and methods by name,
    comparisons by name or title.

    Raises XaibenchError for a name that is nothing published, or several kinds of things.
    """
    found: list[WithdrawnEntry] = []
    gone: dict[str, WithdrawnComparison] = {}
    for name in names:
        keys = [one for one in taken if len(name) >= 4 and one.board.key.startswith(name)]
        models = [one for one in taken if (part_name(one.board.context, "model") or None) == name]
        methods = [one for one in taken if any(cell.method_name == name for cell in one.board.cells)]
        studies = [one for one in comparisons if name in (one.name, one.title)]
        kinds = [some for some in (keys, models, methods, studies) if some]
        if len(kinds) != 1:
            raise _no_withdrawal(name, bool(kinds), taken, comparisons)
        gone |= {one.title: withdrawn_comparison(one, reason, index.version) for one in studies}
        found += [_entry(one, name if methods else None, reason, index.version) for one in keys or models or methods]
    return found, list(gone.values())


def _no_withdrawal(
    name: str, several: bool, taken: Sequence[Taken], comparisons: Sequence[Comparison]
) -> XaibenchError:
    """The error about a name that is several kinds of things, or none."""
    boards = ", ".join(short_key(one.board, [other.board for other in taken]) for one in taken)
    titles = ", ".join(repr(one.title) for one in comparisons)
    why = "several things have that name" if several else "no board, model, method or comparison that is published"
    how = [f"a board by its key: {boards}"] if boards else []
    how += [f"a comparison by its title: {titles}"] if titles else []
    return XaibenchError(f"--withdraw {name}: {why}; name {', or '.join(how) or 'another'}")


def _entry(taken: Taken, method: str | None, reason: str, version: int) -> WithdrawnEntry:
    names = {part: part_name(taken.board.context, part) or "none" for part in ("protocol", "model")}
    return WithdrawnEntry.made(
        board=taken.board.key, method=method, dataset=dataset_label(taken.board.context), title=taken.board.title,
        reason=reason, last=version, **names,
    )  # fmt: skip


def same_version(fresh: Path, target: Path) -> bool:
    """Whether two board folders have the same files, earlier versions apart."""
    ours, theirs = (own_files(root, frozenset({VERSIONS, SUMS})) for root in (fresh, target))
    return ours.keys() == theirs.keys() and all(equal_files(path, theirs[name]) for name, path in ours.items())


def keep_old(target: Path, index: Index, fresh: Path) -> tuple[VersionEntry, ...]:
    """Copies the earlier versions of a folder into a new one, and of its current version what the new one has not."""
    ours = own_files(fresh)
    for name, path in own_files(target, OWN - {VERSIONS}).items():
        _copy(path, fresh / name)
    for name, path in own_files(target, NOT_KEPT).items():
        if name.split("/")[0] in WHOLE or name not in ours or not equal_files(path, ours[name]):
            _copy(path, fresh / VERSIONS / str(index.version) / name)
    entry = VersionEntry(
        version=index.version, index=f"{VERSIONS}/{index.version}/{FILE}", boards=len(index.boards),
        results=sum(len(one.cells) for one in index.boards),
    )  # fmt: skip
    return (*index.versions, entry)


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, to)
