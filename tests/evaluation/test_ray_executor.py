"""Tasks of Ray, with a stand-in for Ray that loses processes and nodes as it is told: nothing is lost or doubled."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from filelock import FileLock

import xaibench
from xaibench.errors import XaibenchError
from xaibench.evaluation import ray_cluster, ray_executor, remote
from xaibench.evaluation.api import run_config
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.ray_cluster import MISSING, Needs, check_needs, cores_of_gpu_tasks
from xaibench.evaluation.ray_engine import order_of
from xaibench.evaluation.ray_executor import RayExecutor
from xaibench.evaluation.remote import Receipt, compute
from xaibench.evaluation.task_queue import ATTEMPTS
from xaibench.results import store
from xaibench.results.store import Store


class RayError(Exception):
    """The root of Ray's errors."""


ERRORS = {
    name: type(name, (RayError,), {})
    for name in ("RayTaskError", "NodeDiedError", "LocalRayletDiedError", "OutOfMemoryError", "WorkerCrashedError")
}


class StandIn:
    """The parts of ray that the engine calls. happens(number of the task, order, shards) may raise an error of Ray or
    return a refusal; else the task is computed in this process. All tasks run on the first node that is allowed."""

    exceptions = SimpleNamespace(RayError=RayError, **ERRORS)

    def __init__(self, happens=lambda task, order, numbers: None, nodes=("one",)):
        self.happens, self.names, self.tasks, self.options_given = happens, nodes, [], []
        self.own = nodes[0]

    def nodes(self):
        return [{"NodeID": name, "Alive": True, "Resources": {"CPU": 2.0}} for name in self.names]

    def get_runtime_context(self):
        return SimpleNamespace(get_node_id=lambda: self.own)

    def remote(self, function):
        def options(**given):
            def start(order, numbers):
                self.options_given.append(given)
                self.tasks.append((order, numbers))
                return len(self.tasks) - 1

            return SimpleNamespace(remote=start)

        return SimpleNamespace(options=options)

    def wait(self, tasks, timeout, num_returns=1):
        return tasks[-1:], tasks[:-1]  # the latest first: any order will do

    def get(self, task):
        order, numbers = self.tasks[task]
        left_out = self.options_given[task].get("label_selector", {}).get("ray.io/node-id", "")
        node = next(name for name in self.names if name not in left_out)
        return node, self.happens(task, order, numbers) or compute(order, numbers)

    def cancel(self, task):
        assert self.own == "gone", "nothing is left to be interrupted"


@pytest.fixture(autouse=True)
def closed(monkeypatch):
    monkeypatch.setattr("xaibench.evaluation.shards.LEAST_IMAGES", 4)
    yield
    remote.close()


def request_of(out, **changes) -> RunConfig:
    fields = {
        "protocols": "sds,ids", "model": "tiny", "dataset": "mini", "methods": "ixg-sg,grad-cam,random", "images": 20,
        "batch_size": 4, "chunk_size": 8, "out": out,
    }  # fmt: skip
    return RunConfig.parse(fields | changes)


def run(out, ray=None, quiet=True, **changes):
    executors = []

    @contextmanager
    def engine(work):
        executors.append(RayExecutor(work, ray, Needs(1, 0), order_of(work, 1, 1.0)))
        executors[0].fit()
        yield executors[0]
        executors[0].end()

    found = run_config(request_of(out, **changes), quiet=quiet, engine=engine if ray else None)
    return found, executors


def rows(out) -> pd.DataFrame:
    return Store.open(out).rows().sort_values(["cell", "image_id", "metric"]).reset_index(drop=True)


def raw_rows(out) -> int:
    """Rows of all files, with those that are stored twice."""
    return sum(len(pd.read_parquet(path)) for path in Store.open(out).shards())


@pytest.mark.slow
@pytest.mark.process
def test_tasks_give_the_rows_and_the_record_of_a_local_run(home):
    local, _ = run("a")
    found, _ = run("b", StandIn())
    pd.testing.assert_frame_equal(rows("a"), rows("b"), check_exact=True)
    assert found.computed == 20 and raw_rows("b") == len(rows("b"))
    record, other = local.manifest, found.manifest
    assert other.status == "complete" and other.forward_equivalents == record.forward_equivalents
    assert other.accuracy == record.accuracy and other.warnings == record.warnings
    passes = {name: cost["forward_equivalents_shared"] for name, cost in record.costs.items()}
    assert {name: cost["forward_equivalents_shared"] for name, cost in other.costs.items()} == pytest.approx(passes)
    assert run("b", StandIn())[0].computed == 0


@pytest.mark.slow
@pytest.mark.process
def test_a_protocol_is_fitted_once_for_all_tasks(home):
    settings = {"protocols": "box-iou", "settings": {"threshold": "fit", "held_out": 6}, "images": 8}
    run("a", **settings)
    ray = StandIn()
    found, _ = run("b", ray, **settings)
    assert ray.tasks[0][1] == ()
    assert found.manifest.fitted and all(order.fitted == found.manifest.fitted for order, numbers in ray.tasks[1:])
    pd.testing.assert_frame_equal(rows("a"), rows("b"), check_exact=True)


@pytest.mark.process
def test_what_a_lost_process_or_node_had_is_computed_by_others(home, capsys):
    """Nodes may be lost as often as they like; a process may end ATTEMPTS - 1 times with the same shard."""
    seen: dict = {}

    def happens(task, order, numbers):
        for number in numbers:
            seen[number] = seen.get(number, 0) + 1
        if 1 in numbers and seen[1] < ATTEMPTS:
            raise ERRORS["WorkerCrashedError"]("killed")
        if 3 in numbers and seen[3] < 2 * ATTEMPTS:
            raise ERRORS["NodeDiedError"]("preempted")

    run("a")
    found, _ = run("b", StandIn(happens))
    assert found.manifest.status == "complete" and seen[1] == ATTEMPTS and seen[3] == 2 * ATTEMPTS
    pd.testing.assert_frame_equal(rows("a"), rows("b"), check_exact=True)
    assert raw_rows("b") == len(rows("b"))
    error = capsys.readouterr().err
    assert error.count("a process of Ray ended: killed") == 1 and error.count("a node is lost") == 1


@pytest.mark.slow
@pytest.mark.process
def test_a_shard_that_ends_every_process_is_given_up_when_all_else_is_stored(home):
    def happens(task, order, numbers):
        if 2 in numbers:
            raise ERRORS["WorkerCrashedError"]("segmentation fault")

    with pytest.raises(XaibenchError, match=r"1 of 5 shards .* number 2: its process ended 4 times: segmentation"):
        run("a", StandIn(happens))
    assert rows("a")["image_id"].nunique() == 16
    assert run("a", StandIn())[0].computed == 4


@pytest.mark.slow
@pytest.mark.process
def test_what_ran_out_of_memory_gets_smaller_passes(home):
    chunks = []

    def happens(task, order, numbers):
        if 1 in numbers:
            chunks.append(order.chunk)
            if order.chunk > 2:
                raise ERRORS["OutOfMemoryError"]("killed by the memory monitor")

    assert run("a", StandIn(happens))[0].manifest.status == "complete" and chunks == [8, 4, 2]


@pytest.mark.process
def test_a_node_that_refuses_is_left_out_and_named_once(home, capsys):
    ray = StandIn(nodes=("bad", "good"))
    ray.happens = lambda task, order, numbers: (
        None if "label_selector" in ray.options_given[task] else Receipt("bad host", refusal=f"full: {task}.parquet")
    )
    assert run("a", ray)[0].manifest.status == "complete"
    given = len([options for options in ray.options_given if "label_selector" not in options])
    assert given > 1, "more tasks were on their way to the node"
    assert capsys.readouterr().err.count("node bad host is left out: full") == 1


@pytest.mark.slow
@pytest.mark.process
def test_where_every_node_refuses_the_run_ends(home):
    with pytest.raises(XaibenchError, match="node here refuses: the disk is full"):
        run("a", StandIn(lambda *_: Receipt("here", refusal="the disk is full")))
    assert run("a", StandIn())[0].computed == 20


@pytest.mark.process
def test_progress_is_of_the_whole_with_the_time_left(home, capsys, monkeypatch):
    """Shards of a minute on four slots."""
    monkeypatch.setattr("xaibench.progress.LINE_SECONDS", 0.0)
    ray = StandIn(lambda task, order, numbers: replace(compute(order, numbers), seconds=60.0), ("one", "two"))
    run("a", ray, quiet=False)
    lines = [line for line in capsys.readouterr().err.splitlines() if "sds,ids on tiny" in line]
    found = [re.search(r": (\d+)/20, .* spent, (.*) left; (\d) tasks on 2 nodes", line).groups() for line in lines]
    assert found == [
        (str(4 * n), left, str(5 - n)) for n, left in enumerate(("1:00", "0:45", "0:30", "0:15", "0:00"), 1)
    ]


@pytest.mark.slow
@pytest.mark.process
def test_where_ray_has_ended_here_the_run_ends(home):
    """Not where other nodes go, which may come back."""

    def happens(task, order, numbers):
        if task == 1:
            ray.own = "gone"

    ray = StandIn(happens)
    with pytest.raises(XaibenchError, match="Ray has ended on this machine"):
        run("a", ray)
    assert 0 < run("a", StandIn())[0].computed < 20


@pytest.mark.process
def test_rows_that_this_machine_sees_late_are_waited_for(home, monkeypatch):
    """A client of NFS may list the files of another only after some time."""
    late = []

    def happens(task, order, numbers):
        late.append((order, numbers))
        return Receipt("far", shards=1)

    monkeypatch.setattr(ray_executor.time, "sleep", lambda _: [compute(*late.pop()) for _ in range(min(2, len(late)))])
    assert run("a", StandIn(happens))[0].manifest.status == "complete" and not late


@pytest.mark.slow
@pytest.mark.process
def test_rows_that_never_appear_are_one_line(home, monkeypatch):
    monkeypatch.setattr(ray_executor, "SEE_SECONDS", 0.0)
    with pytest.raises(XaibenchError, match=r"rows of 20 images were computed and are not in .* one shared folder"):
        run("a", StandIn(lambda *_: Receipt("far", shards=1)))
    assert run("a", StandIn())[0].computed == 20


@pytest.mark.slow
@pytest.mark.parametrize("years", [-40, 40])
def test_a_wrong_clock_elsewhere_changes_nothing(home, monkeypatch, years):
    class Wrong(datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime.now(zone) + timedelta(days=365 * years)

    def happens(task, order, numbers):
        with monkeypatch.context() as patch:
            patch.setattr(store, "datetime", Wrong)
            return compute(order, numbers) if task % 2 else None

    run("a")
    assert run("b", StandIn(happens))[0].manifest.status == "complete"
    names = [path.name for path in Store.open("b").shards()]
    assert len({name[:4] for name in names}) == 2, "files have the years of both clocks"
    pd.testing.assert_frame_equal(rows("a"), rows("b"), check_exact=True)
    assert raw_rows("b") == len(rows("b")) and run("b", StandIn())[0].computed == 0


@pytest.mark.slow
@pytest.mark.process
def test_a_folder_without_locks_does(home, monkeypatch):
    def no_locks(lock):
        Path(lock.lock_file).touch()
        raise NotImplementedError("FileSystem does not appear to support flock")

    run("a")
    monkeypatch.setattr(FileLock, "_acquire", no_locks)
    assert run("b", StandIn())[0].manifest.status == "complete"
    pd.testing.assert_frame_equal(rows("a"), rows("b"), check_exact=True)
    assert raw_rows("b") == len(rows("b"))


@pytest.mark.process
def test_a_method_that_fails_in_several_tasks_is_named_once(home, capsys):
    calls = []

    def broken(evidence):
        calls.append(evidence)
        raise ValueError(f"reason {len(calls)}")

    xaibench.method("broken")(broken)

    def happens(task, order, numbers):
        remote.close()  # as in another process
        return compute(order, numbers)

    with pytest.raises(XaibenchError, match="method broken failed: ValueError: reason 1"):
        run("a", StandIn(happens), methods="broken,ixg-sg")
    assert len(calls) > 1 and capsys.readouterr().err.count("method broken failed") == 1
    assert rows("a")["image_id"].nunique() == 20


@pytest.mark.process
def test_a_defect_in_a_task_keeps_its_traceback(home):
    def happens(task, order, numbers):
        error = ERRORS["RayTaskError"]("remote traceback")
        error.cause = ZeroDivisionError("division")
        raise error

    with pytest.raises(ZeroDivisionError):
        run("a", StandIn(happens))


@pytest.mark.parametrize(
    ("cpus", "gpus", "has", "slots"),
    [
        (1, 0, {"CPU": 4.0}, 4),
        (3, 0, {"CPU": 4.0}, 1),
        (1, 1, {"CPU": 4.0, "GPU": 2.0}, 2),
        (1, 0.5, {"CPU": 9.0, "GPU": 2.0}, 4),
        (1, 0.4, {"CPU": 9.0, "GPU": 2.0}, 4),  # 2.5 a GPU: no task is on two
        (1, 1, {"CPU": 4.0}, 0),
        (1, 0, {}, 0),
    ],
)
def test_slots_of_a_node(cpus, gpus, has, slots):
    assert Needs(cpus, gpus).slots({"Resources": has}) == slots


@pytest.mark.parametrize(
    ("gpus", "nodes", "cores"),
    [
        (1, [{"CPU": 64.0, "GPU": 8.0}], 8),
        (0.5, [{"CPU": 64.0, "GPU": 8.0}], 4),
        (1, [{"CPU": 64.0, "GPU": 8.0}, {"CPU": 6.0, "GPU": 2.0}, {"CPU": 2.0}], 3),
        (1, [{"CPU": 128.0, "GPU": 1.0}], 9),
        (0.5, [{"CPU": 1.0, "GPU": 1.0}], 1),
    ],
)
def test_cores_of_a_task_on_a_gpu_let_all_gpus_be_used(gpus, nodes, cores):
    ray = StandIn()
    ray.nodes = lambda: [{"NodeID": n, "Alive": True, "Resources": has} for n, has in enumerate(nodes)]
    assert cores_of_gpu_tasks(gpus, ray) == cores
    for has in nodes:
        if has.get("GPU") and has["CPU"] >= has["GPU"] / gpus:
            assert Needs(cores, gpus).slots({"Resources": has}) == has["GPU"] / gpus


def test_a_cluster_that_does_not_fit_is_one_line():
    with pytest.raises(XaibenchError, match=r"a task takes 3 CPU cores.* no node has more than 2; .*OMP_NUM_THREADS=2"):
        check_needs(Needs(3, 0), "cpu", StandIn())
    ray = StandIn()
    ray.nodes = lambda: [{"NodeID": "a", "Alive": True, "Resources": {"CPU": 4.0, "GPU": 8.0}}]
    with pytest.raises(XaibenchError, match="the cluster has 8 GPUs and this process none"):
        check_needs(Needs(1, 0), "auto", ray)
    check_needs(Needs(1, 0), "cpu", ray)
    check_needs(Needs(1, 0.5), "auto", ray)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"address": "10.0.0.1:6379"}, "add --engine ray"),
        ({"gpus_per_task": 0.5}, "add --engine ray"),
        ({"engine": "ray", "address": "ray://head:10001"}, "HOST:PORT"),
        ({"engine": "ray", "gpus_per_task": 2}, "at most 1"),
        ({"engine": "ray", "gpus_per_task": 0}, "more than 0"),
        ({"engine": "dask"}, "'local' or 'ray'"),
    ],
)
def test_requests_that_cannot_be(fields, words):
    with pytest.raises(XaibenchError, match=words):
        request_of("a", **fields)


def test_without_ray_one_line_names_the_extra(home, monkeypatch, command):
    monkeypatch.setitem(sys.modules, "ray", None)
    status, _, error = command("run", "sds", "--model", "tiny", "--dataset", "mini", "--engine", "ray", "--out", "a")
    assert status == 2 and error.splitlines() == [f"xaibench: {MISSING}"] and "'xaibench[ray]'" in error
    assert not Path("a").exists()


def test_an_address_that_does_not_answer_is_one_line_before_anything_is_opened(home, monkeypatch, command):
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: name)
    words = ("run", "sds", "--model", "tiny", "--dataset", "mini", "--engine", "ray", "--out", "a")
    for more in (("--address", "127.0.0.1:1"), ()):
        if not more:
            monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
        status, _, error = command(*words, *more)
        assert status == 2 and len(error.splitlines()) == 1 and "no Ray cluster at 127.0.0.1:1: " in error
    assert not Path("a").exists()


@pytest.mark.parametrize(("address", "words"), [(None, "Ray does not start here"), ("h:1", "no Ray cluster at h:1")])
def test_a_ray_that_does_not_start_is_one_line(monkeypatch, address, words):
    """As on a machine that is so busy that Ray's own processes wait for each other in vain."""

    def init(*_, **__):
        raise Exception("the current node timed out\nduring startup")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False, init=init))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(XaibenchError, match=f"{words}: the current node timed out during startup; "):
        ray_cluster.connected(address).__enter__()


def test_objects_and_profiles_are_of_this_process(home, tmp_path):
    with pytest.raises(XaibenchError, match="cannot be given model Net"):
        run_config(request_of("a", engine="ray"), objects=["model Net"])
    with pytest.raises(XaibenchError, match="--profile-trace is of this process"):
        run_config(request_of("a", engine="ray"), trace=tmp_path / "x.json")
