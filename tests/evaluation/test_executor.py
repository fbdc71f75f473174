"""Executors: another engine gives the same rows, in any order, and decides nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

import xaibench
from xaibench.evaluation.api import run_config
from xaibench.evaluation.compute import Tally
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.executor import local


def request_of(out, **changes) -> RunConfig:
    fields = {
        "protocols": "sds,ids", "model": "tiny", "dataset": "mini", "methods": "ixg-sg,grad-cam,random", "images": 24,
        "batch_size": 4, "chunk_size": 8, "out": out,
    }  # fmt: skip
    return RunConfig.parse(fields | changes)


def rows(results) -> pd.DataFrame:
    return results.rows.sort_values(["cell", "image_id", "metric"]).reset_index(drop=True)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr("xaibench.evaluation.shards.LEAST_IMAGES", 8)


@pytest.mark.process
def test_shards_may_be_computed_in_any_order(home, small_shards):
    orders = []

    @contextmanager
    def backwards(work):
        with local(work) as executor:
            execute = executor.execute

            def one_by_one(shards):
                orders.append([shard.number for shard in shards])
                return [busy for shard in reversed(shards) for busy in execute([shard])]

            executor.execute = one_by_one
            yield executor

    whole = run_config(request_of("a"), quiet=True)
    found = run_config(request_of("b"), quiet=True, engine=backwards)
    assert orders == [[0, 1, 2]] and found.manifest.status == "complete"
    pd.testing.assert_frame_equal(rows(whole), rows(found))


class Processes:
    """An engine in a few lines: each shard is a part of the run, computed by a process that gets the request alone."""

    def __init__(self, work):
        self.work, self.tally, self.fitted = work, Tally(), {}

    def execute(self, shards):
        """Computes every shard in a process of its own; returns those that still lack something."""
        path = self.work.store.root / "request.toml"
        count = len(self.work.plan.images) // 8
        for shard in shards:
            request = self.work.config.model_copy(update={"shard": f"{shard.number + 1}/{count}"})
            path.write_text(request.to_toml())
            code = (
                "import sys, xaibench.evaluation.shards as shards; shards.LEAST_IMAGES = 8\n"
                "from xaibench.cli import main\n"
                "sys.argv = ['xaibench', 'run', '--config', sys.argv[1], '--quiet']; main()"
            )
            subprocess.run(
                [sys.executable, "-c", code, str(path)], check=True, capture_output=True, env=self._environment()
            )
        self.work.completion.refresh()
        return [shard for shard in shards if self.work.completion.missing(shard.images)]

    @staticmethod
    def _environment():
        paths = [str(Path(xaibench.__file__).parents[1]), os.environ["XAIBENCH_HOME"]]
        return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.process
def test_an_engine_of_processes_needs_the_request_alone(home, small_shards):
    whole = run_config(request_of("a", images=16), quiet=True)
    found = run_config(
        request_of("b", images=16), quiet=True, engine=contextmanager(lambda work: iter([Processes(work)]))
    )
    assert found.manifest.status == "complete" and found.computed == 0, "this process computed nothing itself"
    pd.testing.assert_frame_equal(rows(whole), rows(found))
    assert run_config(request_of("b", images=16), quiet=True).computed == 0


def test_what_an_engine_leaves_out_is_not_called_complete(home, small_shards, monkeypatch):
    monkeypatch.setattr("xaibench.evaluation.evaluator.WAIT_SECONDS", 0)

    class Lazy(Processes):
        def execute(self, shards):
            return []

    found = run_config(request_of("a"), quiet=True, engine=contextmanager(lambda work: iter([Lazy(work)])))
    assert found.manifest.status == "partial" and found.rows.empty
