"""Where shards are computed: the protocol that every executor follows, and the one of this process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from xaibench.datasets.loading import load_groups
from xaibench.evaluation.compute import Computer
from xaibench.evaluation.shards import Shard
from xaibench.locks import try_lock
from xaibench.progress import Bar
from xaibench.results.completion import Completion
from xaibench.results.maps import MapStore
from xaibench.results.schema import row_table
from xaibench.results.store import Store

FLUSH_SECONDS = 15.0


class Executor(Protocol):
    """Computes shards, in any order and anywhere, into a results folder; what is complete it never decides."""

    def execute(self, shards: Sequence[Shard]) -> list[Shard]:
        """Computes what is missing of shards and stores it; returns those that another process is computing right now.

        Rows of finished batches are stored also when it is interrupted.
        """


@dataclass
class LocalExecutor:
    """Computes shards one after the other in this process.

    A shard is locked before its images are loaded and until its rows are stored, and looked at again once it is locked,
    as another process may just have ended with it. maps: where maps are kept, None to keep none. workers: processes
    that load images.
    """

    computer: Computer
    completion: Completion
    store: Store
    maps: MapStore | None
    workers: int
    progress: Bar
    _pending: list[dict[str, Any]] = field(default_factory=list)  # rows that are not stored yet
    _held: dict[str, ExitStack] = field(default_factory=dict)  # locks of shards, by the last image that is computed
    _finished: list[ExitStack] = field(default_factory=list)  # locks of shards whose last rows are pending
    _flushed: float = field(default_factory=time.monotonic)

    def execute(self, shards: Sequence[Shard]) -> list[Shard]:
        """See `Executor`."""
        busy: list[Shard] = []
        try:
            for samples in load_groups(
                self.computer.plan.dataset, self._batches(shards, busy), self.workers, generator=torch.Generator()
            ):
                images = [sample.image_id for sample in samples]
                missing = self.completion.missing(images)
                found = self.computer.compute(samples, missing, lambda name: self.progress.advance(0, name))
                for kept in found.maps if self.maps else ():
                    self.maps.save(kept.key, kept.image_ids, kept.targets, kept.maps)
                self._pending += found.rows
                if images[-1] in self._held:
                    self._finished.append(self._held.pop(images[-1]))
                self._count(len(samples))
                if time.monotonic() - self._flushed > FLUSH_SECONDS:
                    self._flush()
        finally:
            try:
                self._flush()
            finally:
                for locks in (*self._held.values(), *self._finished):
                    locks.close()
                self._held.clear()
                self._finished.clear()
        return busy

    def _batches(self, shards: Sequence[Shard], busy: list[Shard]) -> Iterator[list[str]]:
        """The images of each batch that lack anything, shard by shard as each can be locked; others become busy."""
        for shard in shards:
            missing = self.completion.missing(shard.images)
            if not missing:
                continue
            locks = try_lock(self.store.root / "locks", shard.locks(missing))
            if locks is None and self._finished:  # an earlier shard of this process may share its slot
                self._flush()
                locks = try_lock(self.store.root / "locks", shard.locks(missing))
            if locks is None:
                busy.append(shard)
                continue
            self.completion.refresh()
            lacking = set().union(*self.completion.missing(shard.images).values())
            batches = [found for batch in shard.batches if (found := [i for i in batch if i in lacking])]
            if not batches:
                locks.close()
                continue
            self._held[batches[-1][-1]] = locks
            yield from batches

    def _count(self, images: int) -> None:
        tally = self.computer.tally
        tally.images += images
        tally.forward_equivalents = self.computer.forward_equivalents
        self.progress.advance(images, f"{tally.forward_equivalents / tally.images:.0f} forwards an image")

    def _flush(self) -> None:
        """Stores the pending rows, and lets go of the shards that are stored."""
        if self._pending:
            self.store.append(row_table(self._pending))
            self._pending.clear()
        self._flushed = time.monotonic()
        for locks in self._finished:
            locks.close()
        self._finished.clear()
