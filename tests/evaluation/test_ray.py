"""Ray itself: the rows of a local run, whoever is killed in the middle, and clusters that do not answer."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from processes import hear_all

import xaibench
from xaibench.evaluation.api import run_config
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.ray_cluster import Needs
from xaibench.evaluation.ray_engine import order_of
from xaibench.evaluation.ray_executor import RayExecutor
from xaibench.results.store import Store

pytest.importorskip("ray", reason="needs ray: pip install 'xaibench[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.process]

SLOW = """
import os, sys, time, torch, xaibench

@xaibench.method("slow")
def slow(evidence):
    if "pytest" not in sys.modules:
        open(f"computing-{os.getpid()}", "w").close()
        time.sleep(4)
    return torch.arange(4.0).reshape(1, 1, 2, 2).repeat(len(evidence.targets), 1, 1, 1)
"""
MAIN = """
import sys
import xaibench.evaluation.executor as executor
from xaibench.cli import main
executor.FLUSH_SECONDS = 0.0
sys.argv[0] = "xaibench"
main()
"""
RUN = ("run", "sds,ids", "--model", "tiny", "--dataset", "mini", "--methods", "ixg-sg,grad-cam,slow", "--images", "40",
       "--plugin", "slow.py", "--chunk-size", "8", "--device", "cpu")  # fmt: skip
SECONDS = 600


@pytest.fixture
def start(home, monkeypatch, tmp_path):
    """Starts the command line in a process of its own, which ends with the test."""
    (tmp_path / "slow.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(xaibench.__file__).parents[1]), str(home)]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    started = []

    def call(*words: object) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", MAIN, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=hear_all,
        )  # fmt: skip
        started.append(process)
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def head(monkeypatch):
    """A cluster of one node with one core on this machine."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield found
    found.shutdown()


@pytest.fixture
def cluster(head):
    """Two nodes of one core each on this machine."""
    head.other = add_node(head)
    return head


def add_node(cluster, **settings):
    """A node of one core, once it is there; it has more than the half minute that Ray gives it."""
    nodes = alive(cluster)
    node = cluster.add_node(wait=False, num_cpus=1, **settings)
    wait_for_nodes(cluster, nodes + 1)
    return node


def alive(cluster) -> int:
    """How many nodes of a cluster live."""
    return sum(node["Alive"] for node in cluster.global_state.node_table())


def wait_for_nodes(cluster, number: int, process: subprocess.Popen | None = None) -> None:
    """Returns once so many nodes live; the end of a process, or too long a time, is an error."""
    until = time.monotonic() + SECONDS
    while alive(cluster) != number:
        assert process is None or process.poll() is None, f"ended with {process.returncode}"
        assert time.monotonic() < until, f"{alive(cluster)} nodes, not {number}"
        time.sleep(0.2)


def ended(process: subprocess.Popen) -> str:
    """What a process said on standard error, when it has ended well."""
    _, error = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, error
    return error


def rows(out) -> pd.DataFrame:
    return Store.open(out).rows().sort_values(["cell", "image_id", "metric"]).reset_index(drop=True)


def check(out) -> None:
    """The folder has the rows of a local run, bit for bit, each once."""
    pd.testing.assert_frame_equal(rows("local"), rows(out), check_exact=True)
    assert sum(len(pd.read_parquet(path)) for path in Store.open(out).shards()) == len(rows(out))


def wait_for(found, process: subprocess.Popen):
    """What found() gives once it gives anything; the end of the process, or too long a time, is an error."""
    until = time.monotonic() + SECONDS
    while not (result := found()):
        assert process.poll() is None, f"ended with {process.returncode}: {process.communicate()}"
        assert time.monotonic() < until, "nothing happens"
        time.sleep(0.05)
    return result


def wait_for_rows(out, process: subprocess.Popen) -> None:
    wait_for(lambda: list(Path(out, "rows").glob("*.parquet")), process)


def computing() -> list[int]:
    """Processes that have begun to compute and live."""
    numbers = [int(path.name.partition("-")[2]) for path in Path().glob("computing-*")]
    return [number for number in numbers if Path(f"/proc/{number}/cmdline").exists()]


def computing_on(node) -> list[int]:
    """Those that belong to a node of a cluster."""
    raylet = node.all_processes["raylet"][0].process.pid
    return [number for number in computing() if number in descendants(raylet)]


def descendants(process: int) -> dict[int, str]:
    """The processes that a process has started, and those that they have, with the words of their commands."""
    parents, words = {}, {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            number = int(folder.name)
            parents[number] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words[number] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    found, todo = {}, [process]
    while todo:
        children = [child for child, parent in parents.items() if parent == todo[0]]
        todo = todo[1:] + children
        found |= {child: words[child] for child in children}
    return found


def end(processes) -> None:
    for number in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


@pytest.fixture
def node_without(head):
    """Starts a node of the cluster that has an empty folder of some bytes in place of one that the others share."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("this process may not mount")
    started = []

    def call(folder, size: int) -> None:
        ray = f"{sys.executable} -m ray.scripts.scripts start --address {head.address} --num-cpus 1 --block"
        words = f"mount -t tmpfs -o size={size} none {folder} && exec {ray} --disable-usage-stats"
        started.append(subprocess.Popen(["unshare", "--mount", "sh", "-c", words], stdout=subprocess.DEVNULL))
        wait_for_nodes(head, 2, started[-1])

    yield call
    for process in started:
        end([process.pid, *descendants(process.pid)])
        process.wait()


@pytest.fixture
def local(start, command):
    """The rows of a run in this process, and the weights."""
    assert command(*RUN, "--out", "local", "--quiet")[0] == 0


def test_rows_are_those_of_a_local_run_and_nothing_is_left_running(start, local, home):
    process = start(*RUN, "--out", "a", "--engine", "ray")
    wait_for_rows("a", process)
    children = descendants(process.pid)
    error = ended(process)
    check("a")
    assert "40/40" in error and "InvalidAuthToken" not in error
    time.sleep(2)
    assert not [number for number in children if Path(f"/proc/{number}/cmdline").exists()]


def test_a_killed_worker_is_replaced(start, local):
    process = start(*RUN, "--out", "a", "--engine", "ray")
    wait_for_rows("a", process)
    os.kill(wait_for(computing, process)[0], signal.SIGKILL)
    assert "a process of Ray ended" in ended(process)
    check("a")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_after_the_end_of_the_driver_the_same_command_goes_on(start, local, number):
    process = start(*RUN, "--out", "a", "--engine", "ray", "--quiet")
    wait_for_rows("a", process)
    process.send_signal(number)
    process.communicate(timeout=SECONDS)
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    there = len(rows("a"))
    assert 0 < there < len(rows("local"))
    ended(start(*RUN, "--out", "a", "--engine", "ray", "--quiet"))
    check("a")


def test_a_lost_node_is_done_without(start, local, cluster):
    process = start(*RUN, "--out", "a", "--engine", "ray", "--address", cluster.address)
    wait_for(lambda: computing_on(cluster.other), process)
    cluster.remove_node(cluster.other, allow_graceful=False)
    assert "lost" in ended(process)
    check("a")


def test_a_drained_node_is_done_without(start, local, cluster):
    """Ray gives it no more tasks, and ends it when its time is over."""
    process = start(*RUN, "--out", "a", "--engine", "ray", "--address", cluster.address)
    wait_for(lambda: computing_on(cluster.other), process)
    words = ("drain-node", "--address", cluster.address, "--node-id", cluster.other.node_id, "--reason-message", "spot",
             "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--deadline-remaining-seconds", "5")  # fmt: skip
    subprocess.run([sys.executable, "-m", "ray.scripts.scripts", *words], check=True)
    ended(process)
    check("a")


def test_a_killed_head_ends_the_run_and_the_same_command_goes_on(start, local):
    """All of Ray but the command: it cannot go on, and says so or is ended by Ray."""
    process = start(*RUN, "--out", "a", "--engine", "ray", "--quiet")
    wait_for_rows("a", process)
    end(number for number, words in descendants(process.pid).items() if "gcs_server" in words or "raylet" in words)
    _, error = process.communicate(timeout=SECONDS)
    assert process.returncode != 0, error
    assert 0 < len(rows("a")) < len(rows("local"))
    ended(start(*RUN, "--out", "a", "--engine", "ray", "--quiet"))
    check("a")


def test_a_node_with_other_versions_is_left_out(start, local, head, tmp_path, monkeypatch):
    (tmp_path / "other" / "torch-1.0.dist-info").mkdir(parents=True)
    (tmp_path / "other" / "torch-1.0.dist-info" / "METADATA").write_text("Name: torch\nVersion: 1.0\n")
    path = os.pathsep.join([str(tmp_path / "other"), os.environ["PYTHONPATH"]])
    add_node(head, env_vars={"PYTHONPATH": path})
    error = ended(start(*RUN, "--out", "a", "--engine", "ray", "--address", head.address))
    assert error.count("is left out: other versions than where the run was started: torch 1.0, not ") == 1
    check("a")


def test_a_node_without_the_data_set_is_left_out(start, local, head, node_without, home):
    node_without(home / "cards" / "datasets", 4096)
    error = ended(start(*RUN, "--out", "a", "--engine", "ray", "--address", head.address))
    assert error.count("is left out: unknown dataset 'mini'") == 1
    check("a")


def test_a_node_whose_disk_is_full_is_left_out(start, local, head, node_without, tmp_path):
    (tmp_path / "a" / "rows").mkdir(parents=True)
    node_without(tmp_path / "a" / "rows", 4096)
    error = ended(start(*RUN, "--out", "a", "--engine", "ray", "--address", head.address))
    assert error.count("is left out: ") == 1 and "the disk is full" in error
    check("a")


def test_tasks_that_share_a_gpu_are_processes_of_their_own(start, local, monkeypatch):
    """A GPU that Ray is told of; the tasks compute on the CPU."""
    import ray

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray.init("local", num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False)

    @contextlib.contextmanager
    def engine(work):
        executor = RayExecutor(work, ray, Needs(1, 0.5), order_of(work, 1, 0.5))
        yield executor
        executor.end()

    words = dict(zip([word[2:].replace("-", "_") for word in RUN[2::2]], RUN[3::2], strict=True))
    plugins = {"protocols": RUN[1], "out": "a", "plugins": [words.pop("plugin")]}
    try:
        run_config(RunConfig.parse(words | plugins), quiet=True, engine=engine)
    finally:
        ray.shutdown()
    check("a")
    assert len(list(Path().glob("computing-*"))) == 5, "a process for each of the 5 shards"


def test_two_coordinators_divide_the_work(start, local, cluster):
    first, second = (start(*RUN, "--out", "a", "--engine", "ray", "--address", cluster.address) for _ in range(2))
    ended(first)
    ended(second)
    check("a")


def test_an_address_that_does_not_answer_is_one_line(start, local):
    process = start(*RUN, "--out", "a", "--engine", "ray", "--address", "127.0.0.1:1", "--quiet")
    _, error = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert [line for line in error.splitlines() if "no Ray cluster at 127.0.0.1:1" in line] == error.splitlines()[-1:]
