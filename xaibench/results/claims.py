"""Which results each process is computing right now, so that processes that share a results folder divide their work.

A process can hold few locks, and any results of any images may be claimed. So a folder has one table of claims, which
is read and changed under one lock, for milliseconds; and each process holds one more lock as long as it lives, so that
claims of killed processes are known to mean nothing. Results are right without all this: rows that two processes
have computed are equal, and are read once.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from xaibench.errors import XaibenchError
from xaibench.files import make_folder, read_json, write_atomic
from xaibench.locks import description, excludes, forget, is_held, living, process_record, try_lock

TABLE = "claims"
NAME = re.compile(r"claims-[0-9a-f]{12}")
WAIT_SECONDS = 20.0  # for the lock of the table
LOOK_SECONDS = 0.005

Span = tuple[str, str]
"""The first and the last place of some images in the order of all images, as text that sorts like the places."""
Table = dict[str, list[Span]]


class Claims:
    """The claims of one process, or of one run of several in it, in a folder; a context manager, at whose end they end.

    keys: all result keys that it may claim; command: how it was started, for messages to others. Nothing is written
    before the first claim. A process that is killed has no claims any more. On a file system without lock support every
    claim is granted.
    """

    def __init__(self, folder: Path, keys: Iterable[str], command: str) -> None:
        self.folder, self.keys, self.command = folder, sorted(keys), command
        self.name = f"claims-{secrets.token_hex(6)}"
        self._spans: list[Span] = []
        self._others: dict[str, frozenset[str]] = {}  # the keys of each other process that was met
        self._alive: ExitStack | None = None
        self._works = True
        self._waited = False  # in vain for the table

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *_: object) -> None:
        self.release(list(self._spans))
        if self._alive:
            self._alive.close()
            self._alive = None

    def take(self, keys: Iterable[str], span: Span) -> bool:
        """Claims results of these keys for the images of a span; False, and no claim, where another process has a claim
        to any of them, or where others hold the table for too long.

        Raises XaibenchError where the folder cannot be written.
        """
        if self._alive is None:
            self._begin()
        if not self._works:
            return True
        with self._table() as table:
            if table is None or self._living_owner(table, frozenset(keys), span):
                return False
            self._spans.append(span)
            self._write(table)
        return True

    def release(self, spans: Iterable[Span]) -> None:
        """Gives up claims. Where the table cannot be written, they end with the process or with the next change."""
        spans = [span for span in spans if span in self._spans]
        for span in spans:
            self._spans.remove(span)
        if spans and self._works:
            with suppress(XaibenchError), self._table() as table:
                if table is not None:
                    self._write(table)

    def owner(self, span: Span) -> str:
        """Which other process has a claim to results of a span that this one may claim, for a message: process, host,
        start, command."""
        name = None
        if not self.folder.is_dir():
            return description(None)
        with suppress(XaibenchError), self._table() as table:
            name = self._living_owner(table or {}, frozenset(self.keys), span)
        return description(self._record(name) if name else None)

    def _begin(self) -> None:
        """Tells others that this process lives and which keys it may claim, and forgets those that were killed."""
        make_folder(self.folder)
        self._alive = ExitStack()
        self._alive.enter_context(living(self.folder, self.name))
        self._works = excludes(self.folder, self.name)
        if self._works:
            self._alive.callback(forget, self.folder / f"{self.name}.json")
            self._store(self.name, process_record(self.command) | {"names": self.keys})
            with self._table() as table:
                killed = [name for name in table or {} if not is_held(self.folder, name)]
                for name in killed:
                    self._forget(table, name)
                if killed:
                    self._write(table)

    @contextmanager
    def _table(self) -> Iterator[Table | None]:
        """The claims of other processes, while the block runs under the lock of the table; None where others hold that
        for too long."""
        until = time.monotonic() + (0 if self._waited else WAIT_SECONDS)
        while (held := try_lock(self.folder, [TABLE])) is None and time.monotonic() < until:
            time.sleep(LOOK_SECONDS * (1 + secrets.randbelow(4)))
        self._waited = held is None
        with held or ExitStack():
            yield None if held is None else self._read()

    def _read(self) -> Table:
        """The claims of others as they are stored; none where the table is missing, or damaged by a power cut."""
        content: Any = None
        with suppress(XaibenchError):
            content = read_json(self.folder / f"{TABLE}.json")
        if not isinstance(content, dict):
            return {}
        return {
            name: [(first, last) for first, last in spans]
            for name, spans in content.items()
            if name != self.name and NAME.fullmatch(name) and _are_spans(spans)
        }

    def _forget(self, table: Table, name: str) -> None:
        """Removes what a process that was killed has left."""
        del table[name]
        forget(self.folder / f"{name}.json")
        forget(self.folder / f"{name}.lock")

    def _write(self, others: Table) -> None:
        self._store(TABLE, others | ({self.name: self._spans} if self._spans else {}))

    def _store(self, name: str, content: Any) -> None:
        write_atomic(self.folder / f"{name}.json", json.dumps(content, indent=0).encode(), durable=False)

    def _living_owner(self, table: Table, keys: frozenset[str], span: Span) -> str | None:
        """The name of another process with a claim to any of these results; those that were killed are forgotten."""
        for name, spans in list(table.items()):
            if any(overlap(span, other) for other in spans) and self._shares(name, keys):
                if is_held(self.folder, name):
                    return name
                self._forget(table, name)
        return None

    def _shares(self, name: str, keys: frozenset[str]) -> bool:
        """Whether another process may claim any of these keys; True where that cannot be read."""
        if name not in self._others:
            names = (self._record(name) or {}).get("names")
            if not isinstance(names, list):
                return True
            self._others[name] = frozenset(map(str, names))
        return not keys.isdisjoint(self._others[name])

    def _record(self, name: str) -> dict[str, Any] | None:
        with suppress(XaibenchError):
            content = read_json(self.folder / f"{name}.json")
            return content if isinstance(content, dict) else None
        return None


def overlap(one: Span, other: Span) -> bool:
    """Whether two spans may have an image in common."""
    return one[0] <= other[1] and other[0] <= one[1]


def _are_spans(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(span, list) and len(span) == 2 and all(isinstance(place, str) for place in span) for span in value
    )
