"""The engine of this process, which computes shards one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from xaibench.datasets.loading import load_groups
from xaibench.evaluation.calibration import calibrate
from xaibench.evaluation.compute import Computer, Tally, open_computer
from xaibench.evaluation.engine import Executor, Work
from xaibench.evaluation.pace import Pace
from xaibench.evaluation.running import RunningScores
from xaibench.evaluation.shards import Shard
from xaibench.evaluation.trace import Tracer, tracing
from xaibench.printing import logger, say
from xaibench.results.schema import row_table

FLUSH_SECONDS = 15.0


@contextmanager
def local(work: Work) -> Iterator[Executor]:
    """The engine of this process, which computes shards one after the other."""
    config = work.config
    with open_computer(work.plan, work.resources.device, work.chunk, config.precision, config.seed) as computer:
        computer.fitted.update(calibrate(computer, work.missing.keys(), work.known_fits, work.resources, work.quiet))
        batches = len(set().union(*work.missing.values())) // work.resources.batch
        with tracing(work.trace, batches, say) as tracer:
            yield LocalExecutor(work, computer, Pace.of(work.plan, work.missing), RunningScores(work.plan), tracer)


@dataclass
class LocalExecutor:
    """Computes shards one after the other in this process.

    A shard is claimed before its images are loaded and until its rows are stored, and looked at again once it is
    claimed, as another process may just have ended with it.
    """

    work: Work
    computer: Computer
    pace: Pace
    scores: RunningScores
    tracer: Tracer
    _pending: list[dict[str, Any]] = field(default_factory=list)  # rows that are not stored yet
    _unreported: list[dict[str, Any]] = field(default_factory=list)  # rows that are in no running score yet
    _claimed: dict[str, Shard] = field(default_factory=dict)  # by the last image that is computed
    _finished: list[Shard] = field(default_factory=list)  # whose last rows are pending
    _flushed: float = field(default_factory=time.monotonic)

    @property
    def tally(self) -> Tally:
        """What was counted so far."""
        return self.computer.tally

    @property
    def fitted(self) -> dict[str, dict[str, float]]:
        """What protocols chose on held-out images, by result key."""
        return {key: protocol.fitted() for key, protocol in self.computer.fitted.items()}

    def execute(self, shards: Sequence[Shard]) -> list[Shard]:
        """See `Executor`."""
        busy: list[Shard] = []
        completion = self.work.completion
        self.pace.resume()
        try:
            for samples in load_groups(
                self.work.plan.dataset,
                self._batches(shards, busy),
                self.work.resources.workers,
                generator=torch.Generator(),
            ):
                images = [sample.image_id for sample in samples]
                missing = completion.missing(images)
                found = self.computer.compute(
                    samples,
                    completion.without_rows(images),
                    self._note,
                    maps=completion.without_maps(images),
                    kept=completion.maps,
                    keep=completion.keep,
                )
                for made in found.maps if completion.keep else ():
                    completion.maps.save(made.key, made.image_ids, made.targets, made.maps, made.digests)
                self._pending += found.rows
                self._unreported += found.rows
                self.pace.finished(missing)
                self._count(len(samples))
                if images[-1] in self._claimed:
                    self._finished.append(self._claimed.pop(images[-1]))
                    self._report()
                self.tracer.next_batch()
                if time.monotonic() - self._flushed > FLUSH_SECONDS:
                    self._flush()
        finally:
            try:
                self._flush()
            finally:
                self._release([*self._claimed.values(), *self._finished])
                self._claimed.clear()
                self._finished.clear()
        return busy

    def _batches(self, shards: Sequence[Shard], busy: list[Shard]) -> Iterator[list[str]]:
        """The images of each batch that lack anything, shard by shard as each can be claimed; others become busy."""
        completion = self.work.completion
        for shard in shards:
            missing = completion.missing(shard.images)
            if not missing:
                continue
            if not self.work.claims.take(completion.claimed(missing), shard.span):
                busy.append(shard)
                continue
            completion.refresh()
            still = completion.missing(shard.images)
            self.pace.elsewhere(missing, still)
            lacking = set().union(*still.values())
            batches = [found for batch in shard.batches if (found := [i for i in batch if i in lacking])]
            if not batches:
                self._release([shard])
                continue
            self._claimed[batches[-1][-1]] = shard
            yield from batches

    def _note(self, method: str | None, protocol: str | None) -> None:
        """Time is spent on a method and a protocol from now on (`compute.Note`)."""
        self.pace.at(method, protocol)
        text = " under ".join(filter(None, (method, protocol)))
        self.tracer.mark(text)
        if method is not None:
            self.work.progress.advance(0, method)

    def _report(self) -> None:
        """Shows the means and the shares of time after a shard."""
        rows, self._unreported = self._unreported, []
        if not self.work.quiet:
            self.scores.add(rows)
            self.work.progress.report([*self.scores.lines(), *self.pace.lines()])

    def _count(self, images: int) -> None:
        tally = self.computer.tally
        tally.images += images
        tally.forward_equivalents = self.computer.forward_equivalents
        note = f"{tally.forward_equivalents / tally.images:.0f} forwards an image"
        self.work.progress.advance(images, note, self.pace.seconds_left)

    def _flush(self) -> None:
        """Stores the pending rows, and lets go of the shards that are stored."""
        if self._pending:
            path = self.work.store.append(row_table(self._pending))
            logger.info("stored %d rows in %s", len(self._pending), path.name)
            self._pending.clear()
        self._flushed = time.monotonic()
        self._release(self._finished)
        self._finished.clear()

    def _release(self, shards: Sequence[Shard]) -> None:
        self.work.claims.release(shard.span for shard in shards)
