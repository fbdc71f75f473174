"""The submissions of a board folder: which results each brought, and the records of its replays, which are all kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xaibench.errors import XaibenchError
from xaibench.files import make_folder, read_regular, write_atomic
from xaibench.publication.index import Index, SubmissionEntry, is_board_folder, read_index
from xaibench.results.replays import LIMIT, Replay, read_replay, state_of


@dataclass(frozen=True)
class Brought:
    """Submissions, oldest first, and the bytes of each record by its SHA-256."""

    entries: tuple[SubmissionEntry, ...] = ()
    records: Mapping[str, bytes] = field(default_factory=dict)


def brought_to(root: Path, index: Index | None = None) -> Brought:
    """What submissions brought to a board folder; nothing for any other folder."""
    if index is None and not is_board_folder(root):
        return Brought()
    entries = (index or read_index(root)).submissions
    try:
        records = {name: read_regular(root / replay_path(name), LIMIT) for one in entries for name in one.replays}
    except OSError as error:
        raise XaibenchError(f"{root}: a record of a replay cannot be read ({error.strerror}); fetch it anew") from error
    return Brought(tuple(entries), records)


def joined(old: Brought, new: Brought, there: Iterable[str]) -> Brought:
    """The submissions of both. there: results that the board had before, which what comes now did not bring."""
    known = {one.submission: one for one in old.entries}
    for one in new.entries:
        before = known.get(one.submission)
        cells = set(before.cells if before else ()) | set(one.cells) - set(there)
        replays = dict.fromkeys([*(before.replays if before else ()), *one.replays])
        known[one.submission] = one.model_copy(update={"cells": sorted(cells), "replays": list(replays)})
    return Brought(tuple(known.values()), {**old.records, **new.records})


def without_own(brought: Brought, own: Iterable[str]) -> Brought:
    """The same where whoever keeps the board has run some results too."""
    keys = set(own)
    entries = [one.model_copy(update={"cells": [key for key in one.cells if key not in keys]})
               for one in brought.entries]  # fmt: skip
    return replace(brought, entries=tuple(entries))


def replay_path(name: str) -> str:
    """The file of a record in a board folder, by its SHA-256."""
    return f"replays/{name}.json"


def write_replays(brought: Brought, root: Path) -> None:
    """Writes all records."""
    for one in brought.entries:
        for name in one.replays:
            make_folder(root / "replays")
            write_atomic(root / replay_path(name), brought.records[name])


def replays_of(root: Path, entries: Iterable[SubmissionEntry]) -> dict[str, Replay]:
    """The records in a board folder, by their SHA-256; raises XaibenchError where one is none, or of another
    submission."""
    found = {}
    for one in entries:
        for name in one.replays:
            found[name] = read_replay(root / replay_path(name))
            if found[name].submission != one.submission:
                raise XaibenchError(f"{replay_path(name)} is of another submission than board.json says")
    return found


def states(
    cells: Iterable[str], entries: Iterable[SubmissionEntry], replays: Iterable[Replay]
) -> dict[str, str]:  # fmt: skip
    """What is said of each result; nothing where no submission and no record is about any of them."""
    keys, records = list(cells), list(replays)
    brought = {key: one.submission for one in reversed(list(entries)) for key in one.cells}
    if not any(key in brought or any(key in record.cells for record in records) for key in keys):
        return {}
    return {key: state_of(key, records, brought) for key in keys}


def with_states(table: Any, cells: Iterable[Any], said: Mapping[str, str]) -> Any:
    """The table of a board with a column `replay` before those of cost; as it is where nothing is said."""
    by_name = {cell.method_name: said.get(cell.key, "") for cell in cells}
    if not any(by_name.values()):
        return table
    place = table.columns.get_loc("passes") if "passes" in table else len(table.columns)
    found = table.copy()
    found.insert(place, "replay", [by_name[name] for name in table["method"]])
    return found
