"""`xaibench train ... --processes N`: processes that end together, and what is said of it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import xaibench
from xaibench.cli.train.launch import are_to_launch, environment_of, launch, number_of_signal
from xaibench.errors import XaibenchError

CHECKOUT = Path(xaibench.__file__).parents[1]
TRAINING = (
    "train", "classifier", "--model", "tiny", "--dataset", "mini", "--device", "cpu", "--workers", "0", "--quiet",
    "--batch-size", "8", "--dataset-option", "count=96",
)  # fmt: skip


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "XAIBENCH_LAUNCHED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))


def test_who_starts_processes(monkeypatch):
    assert [are_to_launch(count) for count in (None, 1, 2)] == [False, False, True]
    with pytest.raises(XaibenchError, match="--processes 0: give 1 or more"):
        are_to_launch(0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not are_to_launch(2) and not are_to_launch(None), "this is one of the two"
    with pytest.raises(XaibenchError, match="--processes 4, but 2 are started; leave out --processes"):
        are_to_launch(4)


def test_processes_share_the_cores(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert environment_of(4)["OMP_NUM_THREADS"] == "3" and environment_of(4)["WORLD_SIZE"] == "4"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert environment_of(4)["OMP_NUM_THREADS"] == "2"


def test_signals_of_exit_statuses():
    killed, ended, mistake, interrupted, pipe = -9, 143, 2, 130, 141
    assert [number_of_signal(status) for status in (killed, ended, mistake, interrupted, pipe)] == [9, 15, 0, 2, 0]
    assert number_of_signal(0xC0000005) == 0  # a crash on Windows


@pytest.mark.process
def test_what_all_of_them_meet_is_said_once(capfd):
    with pytest.raises(SystemExit) as ended:
        launch(2, ["show", "method", "nonsense"])
    assert ended.value.code == 2
    assert capfd.readouterr().err.count("unknown method 'nonsense'") == 1


def start(*more: str) -> subprocess.Popen:
    words = [sys.executable, "-m", "xaibench", *TRAINING, "--processes", "2", *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        words, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def epochs(folder: Path) -> int:
    path = folder / "metrics.parquet"  # replaced while it is looked at
    return len(pq.read_table(io.BytesIO(path.read_bytes()))) if path.is_file() else 0


def children(process: subprocess.Popen) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True)
    return [int(number) for number in found.stdout.split()]


@pytest.mark.slow
def test_trainings_whose_processes_are_killed_go_on(home, monkeypatch, tmp_path):
    """Each time another process of three is killed or interrupted; one line is said, and nothing is left running."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "cards").symlink_to(home / "cards")
    monkeypatch.setenv("XAIBENCH_HOME", str(own))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(CHECKOUT), str(home)]))
    ways = {
        "first killed": ("process 0 was ended by SIGKILL", 2),
        "second killed": ("process 1 was ended by SIGKILL", 2),
        "Ctrl-C": ("interrupted; what is done is stored", 130),
        "SIGTERM": ("ended by SIGTERM; what is done is stored", 143),
    }
    done = 0
    for way, (message, status) in ways.items():
        process = start("--epochs", "24")
        deadline = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < deadline:
            if (folders := list(own.glob("models/*"))) and epochs(folders[0]) > done:
                break
            time.sleep(0.02)
        assert process.poll() is None, process.communicate()
        number = {"first killed": 0, "second killed": 1}.get(way)
        started = children(process)
        if number is None:
            process.send_signal(signal.SIGINT if way == "Ctrl-C" else signal.SIGTERM)
        else:
            os.kill(started[number], signal.SIGKILL)
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out) == (status, "") and len(err.splitlines()) == 1, (way, out, err)
        assert err.startswith(f"xaibench: {message}") and "goes on from" in err
        assert not any(Path(f"/proc/{number}").exists() for number in started)
        assert done < epochs(folders[0]) < 24, way
        done = epochs(folders[0])
    out, err = start("--epochs", "24").communicate(timeout=300)
    assert "validation accuracy" in out and epochs(folders[0]) == 24 and not err
    assert {path.name for path in folders[0].glob("*.safetensors")} == {"weights.safetensors"}
