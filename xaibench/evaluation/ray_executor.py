"""Shards as tasks of Ray. Rows say what is complete, and this process alone asks them.

A task gets text and numbers and returns a small receipt (`evaluation.remote`). Ray itself retries nothing: a task whose
process or node is lost is given again here, so that attempts are counted, and what ran out of memory gets smaller
passes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from xaibench.errors import XaibenchError, one_line
from xaibench.evaluation.compute import Tally
from xaibench.evaluation.engine import Work
from xaibench.evaluation.ray_cluster import NODE, Needs, living_nodes
from xaibench.evaluation.remote import Order, Receipt, compute
from xaibench.evaluation.shards import Shard
from xaibench.evaluation.task_queue import FIT, TASK_SECONDS, TaskQueue
from xaibench.printing import say

GPU_TASK_SECONDS = 300.0  # each such task starts a process
LOOK_SECONDS = 5.0
SEE_SECONDS = 90.0  # for rows of other machines to appear: clients of NFS look again after 60 seconds at most
END_SECONDS = 10.0  # for running tasks to store their rows, when the run is interrupted


@dataclass
class RayExecutor:
    """Computes shards as tasks of Ray, each some shards; see `Executor`."""

    work: Work
    ray: Any
    needs: Needs
    order: Order
    tally: Tally = field(default_factory=Tally)
    _running: dict[Any, tuple[int, ...]] = field(default_factory=dict)  # shards of each task
    _refused: dict[str, str] = field(default_factory=dict)  # why, by node
    _nodes: dict[str, dict[str, Any]] = field(default_factory=dict)  # that live and do not refuse
    _said: set[str] = field(default_factory=set)

    @cached_property
    def _queue(self) -> TaskQueue:
        return TaskQueue(self.order.chunk, GPU_TASK_SECONDS if self.needs.gpus else TASK_SECONDS)

    @cached_property
    def _function(self) -> Any:
        # A process keeps the memory of its GPU until it ends, and cannot change to another GPU that Ray gives it.
        return (self.ray.remote(max_calls=1) if self.needs.gpus else self.ray.remote)(_task)

    @property
    def fitted(self) -> dict[str, dict[str, float]]:
        """What protocols chose on held-out images, by result key."""
        return {key: self.order.fitted[key] for key in self.work.missing if key in self.order.fitted}

    def fit(self) -> None:
        """Fits protocols that choose settings on held-out images, in one task, whose choice all others get."""
        jobs = [job for job in self.work.plan.jobs if job.protocol.protocol.held_out_images]
        if all(job.key in self.order.fitted for job in jobs if job.key in self.work.missing):
            return
        found: dict[str, dict[str, float]] = {}
        self._run([FIT], lambda receipt: found.update(receipt.fitted))
        if FIT in self._queue.lost:
            raise XaibenchError(f"choosing settings on held-out images failed: {self._queue.lost[FIT]}")
        self.order = replace(self.order, fitted=self.order.fitted | found)

    def execute(self, shards: Sequence[Shard]) -> list[Shard]:
        """See `Executor`. Raises XaibenchError where every node refuses to compute, where the folder is not one for
        all, and, when all else is stored, for shards that were given up."""
        completion = self.work.completion
        by_number = {shard.number: shard for shard in shards if completion.missing(shard.images)}
        busy: list[Shard] = []
        self._run(list(by_number), lambda receipt: busy.extend(by_number[number] for number in receipt.busy))
        numbers = by_number.keys() - self._queue.lost.keys() - {shard.number for shard in busy}
        self._see([image for number in numbers for image in by_number[number].images])
        if lost := self._queue.lost:
            number, reason = next(iter(lost.items()))
            raise XaibenchError(
                f"{len(lost)} of {len(shards)} shards could not be computed, such as number {number}: {reason}; "
                "the rows of the others are stored, so the same command computes these alone"
            )
        return busy

    def _see(self, images: Sequence[str]) -> None:
        """Waits until the rows of images that tasks have computed are in the folder as this machine sees it, which may
        look at a shared folder again only after some time; raises XaibenchError where they do not appear."""
        completion, until = self.work.completion, time.monotonic() + SEE_SECONDS
        completion.refresh()
        while (unseen := completion.missing(images)) and not self.tally.failed:  # whose rows will never be there
            if time.monotonic() > until:
                raise XaibenchError(
                    f"rows of {len(set().union(*unseen.values()))} images were computed and are not in "
                    f"{self.work.store.root} as this machine sees it; give all nodes one shared folder"
                )
            time.sleep(1.0)
            completion.refresh()

    def end(self) -> None:
        """Interrupts the tasks that still run; they store the rows of what they have."""
        with suppress(self.ray.exceptions.RayError):
            for task in self._running:
                self.ray.cancel(task)
            if self._running:
                self.ray.wait(list(self._running), num_returns=len(self._running), timeout=END_SECONDS)
        self._running.clear()

    def _run(self, numbers: Sequence[int], note: Callable[[Receipt], None]) -> None:
        """Carries out tasks until all these shards are computed or given up; note is told of each receipt."""
        self._queue.add(numbers)
        while self._queue or self._running:
            slots = self._slots()
            while self._queue and len(self._running) < 2 * slots + 1:
                self._start(*self._queue.next(slots))
            done, _ = self.ray.wait(list(self._running), timeout=LOOK_SECONDS)
            for task in done:
                if receipt := self._receipt(task, self._running.pop(task)):
                    self._count(receipt, slots)
                    note(receipt)

    def _start(self, numbers: tuple[int, ...], chunk: int) -> None:
        bad = {"label_selector": {NODE: f"!in({','.join(sorted(self._refused))})"}} if self._refused else {}
        task = self._function.options(
            num_cpus=self.needs.cpus, num_gpus=self.needs.gpus, max_retries=0, name="xaibench", **bad
        )
        shards = tuple(number for number in numbers if number != FIT)
        self._running[task.remote(replace(self.order, chunk=chunk), shards)] = numbers

    def _receipt(self, task: Any, numbers: tuple[int, ...]) -> Receipt | None:
        """What a task returned; None where its shards wait for another attempt."""
        errors = self.ray.exceptions
        try:
            node, receipt = self.ray.get(task)
        except errors.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, ModuleNotFoundError):
                raise XaibenchError(f"a node of the cluster has other packages: {one_line(cause)}") from error
            raise cause if isinstance(cause, BaseException) else error from None
        except errors.RayError as error:
            self._lost(error, numbers)
            return None
        if receipt.refusal is None:
            return receipt
        known = node in self._refused  # a task that was on its way there already
        self._refused[node] = receipt.refusal
        self._queue.put_back(numbers)
        if not self._slots():
            raise XaibenchError(f"node {receipt.host} refuses: {receipt.refusal}")
        if not known:
            say(f"node {receipt.host} is left out: {receipt.refusal}")
        return None

    def _lost(self, error: Exception, numbers: tuple[int, ...]) -> None:
        """The process or the node of a task is gone."""
        errors, reason = self.ray.exceptions, one_line(error, 200)
        node = isinstance(error, (errors.NodeDiedError, errors.LocalRayletDiedError))
        self._say(
            "a node is lost; what it computed is given to others" if node else f"a process of Ray ended: {reason}"
        )
        self._queue.failed(numbers, reason, counts=not node, halve=isinstance(error, errors.OutOfMemoryError))

    def _count(self, receipt: Receipt, slots: int) -> None:
        for name, reason in receipt.tally.failed.items():
            if name not in self.tally.failed:
                say(f"method {name} failed: {reason}")
        self.tally.add(receipt.tally)
        self._queue.computed(receipt.shards, receipt.seconds)
        running = sum(map(len, self._running.values()))
        note = f"{len(self._running)} tasks on {len(self._nodes)} node{'s' if len(self._nodes) != 1 else ''}"
        self.work.progress.advance(receipt.tally.images, note, self._queue.seconds_left(running, slots))

    def _slots(self) -> int:
        """How many tasks the living nodes that do not refuse can hold at once. Raises XaibenchError where the node of
        this process has ended, by which it reaches all others."""
        nodes = living_nodes(self.ray)
        if self.ray.get_runtime_context().get_node_id() not in nodes:
            raise XaibenchError("Ray has ended on this machine; rows are stored, so the same command computes the rest")
        self._nodes = {key: node for key, node in nodes.items() if key not in self._refused}
        slots = sum(map(self.needs.slots, self._nodes.values()))
        if not slots and not self._refused:
            self._say(f"waiting for a node that has {self.needs} free for a task")
        return slots

    def _say(self, line: str) -> None:
        """Says something once."""
        if line not in self._said:
            self._said.add(line)
            say(line)


def _task(order: Order, numbers: tuple[int, ...]) -> tuple[str, Receipt]:
    """What Ray runs on a node: its id, and the receipt."""
    import ray

    return ray.get_runtime_context().get_node_id(), compute(order, numbers)
