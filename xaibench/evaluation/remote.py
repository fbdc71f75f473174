"""What a process elsewhere does for a run: it opens the request once, computes shards, and returns a small receipt.

Rows and maps go into the results folder, never back to whoever gave the order; what is complete is not decided here.
"""

from __future__ import annotations

import copy
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import torch

from xaibench.errors import XaibenchError
from xaibench.evaluation.compute import Tally, ready
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.engine import Executor, Work
from xaibench.evaluation.executor import local
from xaibench.evaluation.open_run import check_request, evaluator_of
from xaibench.evaluation.remote_checks import check_keys, check_versions, trained
from xaibench.evaluation.shards import cut
from xaibench.parsing import parse_toml
from xaibench.progress import Bar
from xaibench.results.store import Store
from xaibench.surroundings import own_surroundings


@dataclass(frozen=True)
class Order:
    """What another process is told of a run: text and numbers, no objects.

    request: the run as TOML, with a device, a batch size and a number of loading processes that are not `auto`. folder:
    the working folder, in which relative paths are. home: XAIBENCH_HOME, "" for the default. keys: the result keys of
    all jobs. images: the hash of the image list. versions: of the packages. threads: of torch on a CPU, 0: as they are.
    chunk: inputs in one pass. fitted: what protocols chose, by result key. command: how the run was started.
    """

    request: str
    folder: str
    home: str
    keys: tuple[str, ...]
    images: str
    versions: dict[str, str]
    threads: int
    chunk: int
    fitted: dict[str, dict[str, float]]
    command: str


@dataclass(frozen=True)
class Receipt:
    """What came of an order.

    refusal: why nothing could be computed here, in one line; None otherwise. busy: numbers of shards that another
    process is computing. tally: what was counted. fitted: what protocols chose. host, seconds: where, and how long
    computing took. shards: how many were computed.
    """

    host: str
    refusal: str | None = None
    busy: tuple[int, ...] = ()
    tally: Tally = field(default_factory=Tally)
    fitted: dict[str, dict[str, float]] = field(default_factory=dict)
    shards: int = 0
    seconds: float = 0.0


def compute(order: Order, numbers: Sequence[int]) -> Receipt:
    """Computes what shards of these numbers lack, and stores it; what the user could mend is a refusal.

    Without numbers the run is opened, and protocols are fitted.
    """
    host = socket.gethostname()
    try:
        with own_surroundings(), _opened(order) as worker:
            return worker.compute(numbers)
    except XaibenchError as error:
        return Receipt(host, refusal=str(error))


class _Worker:
    """A run that is open in this process, with its networks on the device, until `close`."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self._stack = ExitStack()
        self._work, self._executor = self._open(order)
        self._shards = cut(self._work.plan.images, self._work.resources.batch)
        self._passes = self._executor.tally.forward_equivalents

    def close(self) -> None:
        """Lets go of the networks."""
        self._stack.close()

    def compute(self, numbers: Sequence[int]) -> Receipt:
        """See `compute`."""
        began = time.perf_counter()
        with self._work.claims:
            busy = self._executor.execute([self._shards[number] for number in numbers])
        return Receipt(
            socket.gethostname(),
            busy=tuple(shard.number for shard in busy),
            tally=self._counted(),
            fitted=self._executor.fitted,
            shards=len(numbers) - len(busy),
            seconds=time.perf_counter() - began,
        )

    def _open(self, order: Order) -> tuple[Work, Executor]:
        check_versions(order.versions)
        if order.home:
            os.environ["XAIBENCH_HOME"] = order.home
        try:
            os.chdir(order.folder)
        except OSError as error:
            raise XaibenchError(
                f"the working folder {order.folder} is not there; share it, or start in one that is"
            ) from error
        if order.threads:
            torch.set_num_threads(order.threads)
        config = RunConfig.parse(parse_toml(order.request.encode()))
        check_request(config)
        evaluator = evaluator_of(config, True, order.command, folder=Store.open, train=trained)
        evaluator.store.load_list(order.images)  # a folder of the same name that is not shared lacks it
        check_keys(evaluator.plan, order.keys, evaluator.store)
        completion, resources = evaluator.completion(), evaluator.resources
        missing = completion.missing()
        chunk = ready(evaluator.plan, resources.device, order.chunk, config.precision)
        claims = evaluator.claims(completion.claimed(missing))
        work = Work(
            config, evaluator.plan, evaluator.store, completion, claims, missing, resources, chunk, Bar(), True,
            fitted=order.fitted,
        )  # fmt: skip
        return work, self._stack.enter_context(local(work))

    def _counted(self) -> Tally:
        """What was counted since the last time."""
        tally = self._executor.tally
        passes, self._passes = tally.forward_equivalents - self._passes, tally.forward_equivalents
        found = replace(copy.deepcopy(tally), forward_equivalents=passes)
        tally.images = 0
        tally.undefined.clear()
        tally.costs.clear()
        return found


_open: list[_Worker] = []  # at most one: a process that gets many orders of one run opens it once


@contextmanager
def _opened(order: Order) -> Iterator[_Worker]:
    """The worker of an order. After an error the next order opens the run anew, as rows may wait that were not
    stored."""
    if _open and _open[0].order != order:
        close()
    if not _open:
        _open.append(_Worker(order))
    try:
        yield _open[0]
    except BaseException:
        close()
        raise


def close() -> None:
    """Lets go of the run that is open in this process."""
    while _open:
        _open.pop().close()
