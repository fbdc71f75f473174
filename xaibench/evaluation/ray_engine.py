"""The engine of Ray: shards of a run are tasks on the nodes of a cluster, which this process gives and counts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.engine import Engine, Executor, Work
from xaibench.evaluation.ray_cluster import Needs, check_needs, check_reachable, connected, cores_of_gpu_tasks
from xaibench.evaluation.ray_executor import RayExecutor
from xaibench.evaluation.remote import Order
from xaibench.provenance import package_versions


def ray_engine(config: RunConfig) -> Engine:
    """The engine for a request with `engine = "ray"`; see `engine.Engine`. Raises XaibenchError where Ray is not
    installed, or nothing answers."""
    check_reachable(config.address)

    @contextmanager
    def engine(work: Work) -> Iterator[Executor]:
        if not work.missing:  # nothing is computed, so no cluster is needed
            yield RayExecutor(work, None, Needs(1, 0), order_of(work, 0, 1))
            return
        with connected(config.address) as ray:
            on_gpu = work.resources.device.startswith("cuda")
            gpus = (config.gpus_per_task or 1.0) if on_gpu else 0.0
            if config.gpus_per_task and not on_gpu:
                raise XaibenchError("--gpus-per-task is for GPUs, and this process computes on a CPU; leave it out")
            threads = 0 if on_gpu else torch.get_num_threads()
            needs = Needs(cores_of_gpu_tasks(gpus, ray) if on_gpu else threads, gpus)
            check_needs(needs, config.device, ray)
            order = order_of(work, threads, gpus or 1.0, needs.cpus - 1 if on_gpu else 0)
            executor = RayExecutor(work, ray, needs, order)
            try:
                executor.fit()
                yield executor
            finally:
                executor.end()

    return engine


def order_of(work: Work, threads: int, share: float, loaders: int = 0) -> Order:
    """What workers are told of a run. Where `auto` decides, share is the part of a device's memory that a task has, and
    loaders the number of its processes that load images."""
    config, resources = work.config, work.resources
    loaders = loaders if config.workers == "auto" else config.workers
    chunk = work.chunk if config.chunk_size != "auto" else max(1, int(work.chunk * share))
    here = {
        "engine": "local", "address": None, "gpus_per_task": None, "shard": None, "until_stable": None, "margin": None,
        "confidence": 0.95, "device": resources.device.partition(":")[0], "batch_size": resources.batch,
        "chunk_size": chunk, "workers": loaders, "out": work.store.root.absolute(),
    }  # fmt: skip
    return Order(
        request=config.model_copy(update=here).to_toml(),
        folder=str(Path.cwd()),
        home=os.environ.get("XAIBENCH_HOME", ""),
        keys=tuple(job.key for job in work.plan.jobs),
        images=work.store.save_list(work.plan.images),
        versions=package_versions(),
        threads=threads,
        chunk=chunk,
        fitted=work.known_fits,
        command=work.claims.command,
    )
