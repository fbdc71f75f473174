"""Batches of a run that are computed for their time, passes and sizes, and not stored."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow.parquet as pq
import torch

from xaibench.datasets.loading import load_sample
from xaibench.evaluation.calibration import calibrate
from xaibench.evaluation.compute import BatchResult, Computer, Missing
from xaibench.evaluation.evaluator import Evaluator
from xaibench.evaluation.executor import FLUSH_SECONDS
from xaibench.evaluation.resources import available_memory
from xaibench.results.completion import Completion
from xaibench.results.manifest import load_runs
from xaibench.results.map_bytes import map_bytes
from xaibench.results.maps import map_name
from xaibench.results.schema import row_table

FULL_BATCHES = 2
SECONDS = 30.0  # that a whole batch may take, by the time of one image


@dataclass
class Cost:
    """What some images took: seconds, forward-equivalents, rows, and bytes of their maps."""

    images: int = 0
    seconds: float = 0.0
    forward_equivalents: float = 0.0
    rows: int = 0
    map_bytes: int = 0

    def add(self, other: Cost, times: float = 1.0) -> None:
        """Adds another cost, so many times."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + times * getattr(other, name))


@dataclass
class Timer:
    """Computes and times some batches, and keeps their rows."""

    evaluator: Evaluator
    completion: Completion
    missing: Missing
    rows: list[dict] = field(default_factory=list)

    def fitting(self, computer: Computer) -> Cost:
        """The cost of fitting protocols to held-out images, by one of these; the computer then scores with that fit."""
        evaluator = self.evaluator
        known = {key: chosen for run in load_runs(evaluator.store) for key, chosen in run.fitted.items()}
        open_runs = {
            job.protocol for job in evaluator.plan.jobs
            if job.key in self.missing and job.key not in known and job.protocol.protocol.held_out_images
        }  # fmt: skip
        clock, passes = time.perf_counter(), computer.forward_equivalents
        fitted = calibrate(computer, self.missing.keys(), known, evaluator.resources, True, most=1)
        computer.fitted.update(fitted)
        one = Cost(0, time.perf_counter() - clock, computer.forward_equivalents - passes)
        most = max((run.protocol.held_out_images for run in open_runs), default=0)
        cost = Cost()
        cost.add(one, most)
        return cost

    def group(self, computer: Computer, images: Sequence[str]) -> Cost:
        """The cost of images that lack the same results: by whole batches, or by one image where these take long."""
        batch = self.evaluator.resources.batch
        first = self._time(computer, images[:1])
        if first.seconds * batch > SECONDS or len(images) == 1:
            return first
        cost = Cost()
        for number in range(FULL_BATCHES):
            some = images[1:][number * batch : (number + 1) * batch]
            if some:
                cost.add(self._time(computer, some))
        return cost

    def row_bytes(self, total: Cost) -> int:
        """The bytes of all rows in Parquet files, of which one is written every few seconds."""
        empty, full = _parquet_bytes([]), _parquet_bytes(self.rows)
        files = max(1, round(total.seconds / FLUSH_SECONDS)) if total.rows else 0
        each = (full - empty) / max(1, len(self.rows))
        return round(files * empty + total.rows * each)

    def _time(self, computer: Computer, images: Sequence[str]) -> Cost:
        """What one batch of these images takes."""
        plan, workers = self.evaluator.plan, self.evaluator.resources.workers
        began, passes = time.perf_counter(), computer.forward_equivalents
        samples = [load_sample(plan.dataset, image) for image in images]
        loaded = time.perf_counter()
        found = computer.compute(
            samples, self.completion.without_rows(images), maps=self.completion.without_maps(images),
            kept=self.completion.maps, keep=True,
        )  # fmt: skip
        ended = time.perf_counter()
        self.rows += found.rows
        loading, computing = loaded - began, ended - loaded
        seconds = max(computing, loading / workers) if workers else loading + computing
        return Cost(len(images), seconds, computer.forward_equivalents - passes, len(found.rows), _size_of_maps(found))


def _size_of_maps(found: BatchResult) -> int:
    """The bytes of the files of the maps of a batch: their values, and for each a name and two digests."""
    size = 0
    for made in found.maps:
        names = [map_name(i, t) for i, t in zip(made.image_ids, made.targets.tolist(), strict=True)]
        sums = {name: f"{digest} {digest}" for name, digest in zip(names, made.digests, strict=True)}
        tensors = {name: values[0].cpu().contiguous() for name, values in zip(names, made.maps, strict=True)}
        size += len(map_bytes(tensors, sums))
    return size


def _parquet_bytes(rows: Sequence[dict]) -> int:
    buffer = io.BytesIO()
    pq.write_table(row_table(rows), buffer, compression="zstd")
    return len(buffer.getvalue())


class Memory:
    """The memory of a GPU, or of this process."""

    def __init__(self, device: str):
        self._gpu = torch.device(device) if torch.device(device).type == "cuda" else None
        if self._gpu:
            torch.cuda.reset_peak_memory_stats(self._gpu)

    def most(self) -> int:
        """The most bytes that were taken so far."""
        if self._gpu:
            return torch.cuda.max_memory_reserved(self._gpu)
        try:
            import resource
        except ImportError:  # Windows
            return 0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    def free(self) -> int:
        """Bytes that are free now."""
        return torch.cuda.mem_get_info(self._gpu)[0] if self._gpu else available_memory()
