"""Processes that load images and do not start, or end too early: the right cause in one line, for each way to start
them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import xaibench
from xaibench.datasets.lost_processes import CALLED_AGAIN, lost_process

pytestmark = pytest.mark.process

CHECKOUT = Path(xaibench.__file__).parents[1]
WAYS = ["spawn", "forkserver"]  # those that import the script again: of macOS and Windows, and of Python 3.14
START = """
import multiprocessing, os, signal, sys, time
import numpy as np
from xaibench.datasets.base import Dataset, Sample
from xaibench.datasets.loading import load_groups
from xaibench.errors import XaibenchError


class Numbers(Dataset):
    name, classes, ids = "numbers", ["one"], tuple("0123")
    load_file = None

    def load(self, image_id):
        if image_id == "3" and isinstance(self.load_file, str):
            eval(self.load_file)
        return Sample(image_id, np.zeros((2, 2, 3), np.uint8), 0, "")

    digest = label = load


def work(load_file=None, size=0):
    data = Numbers()
    data.load_file, data.table = load_file, np.random.bytes(size)
    try:
        print("LOADED", sum(len(group) for group in load_groups(data, [["0", "1"], ["2"], ["3"]], workers=2)))
    except XaibenchError as error:
        print("SAID", error)
"""
GUARDED = 'if __name__ == "__main__":\n    multiprocessing.set_start_method({way!r}, force=True)\n    {call}\n'
UNGUARDED = "multiprocessing.set_start_method({way!r}, force=True)\n{call}\n"


@pytest.fixture
def script(tmp_path):
    """script(lines, way, call): the lines that a script prints to standard output, and its standard error."""

    def run(lines: str, way: str, call: str = "work()") -> tuple[list[str], str]:
        path = tmp_path / "script.py"
        path.write_text(START + lines.format(way=way, call=call))
        done = subprocess.run(
            [sys.executable, str(path)], capture_output=True, text=True, timeout=240, cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        return done.stdout.splitlines(), done.stderr

    return run


@pytest.mark.slow
@pytest.mark.parametrize("way", ["fork", *WAYS])
def test_guarded_scripts_load_in_every_way(way, script):
    assert script(GUARDED, way) == (["LOADED 4"], "")


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 3_000_000])  # a pipe holds 65 536 bytes
@pytest.mark.parametrize("way", WAYS)
def test_a_missing_guard_is_said_and_nothing_else(way, size, script):
    """Also where the data set does not fit into the pipe through which it is sent: its sender does not hang."""
    out, err = script(UNGUARDED, way, f"work(size={size})")
    (said,) = out
    assert said.startswith('SAID this script calls xaibench without `if __name__ == "__main__":`, so that each process')
    assert "memory" not in said and err == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "cause"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed, as happens when memory runs out; choose fewer --workers"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV; to see where, load images in this process"),
        ("os._exit(3)", "ended with exit status 3, and has printed why above"),
    ],
)
@pytest.mark.parametrize("way", ["fork", *WAYS])
def test_processes_that_are_lost_later_are_told_by_how_they_ended(way, ending, cause, script):
    out, err = script(GUARDED, way, f"work({ending!r})")
    (said,) = out
    assert said.startswith("SAID a process that loads images ") and cause in said and "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize(("way", "size"), [("spawn", 0), ("forkserver", 0), ("forkserver", 3_000_000)])
def test_a_script_that_fails_when_it_is_imported_again_is_no_lack_of_memory(way, size, script):
    again = 'if __name__ != "__main__":\n    raise ValueError("only once")\n'
    out, err = script(again + GUARDED, way, f"work(size={size})")
    (said,) = out
    assert "ended with exit status 1, and has printed why above" in said and "ValueError: only once" in err


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_data_set_that_cannot_be_sent(way, script):
    (said,), _ = script(GUARDED, way, "work(lambda image_id: image_id)")
    assert "SAID the data set cannot be sent to processes that load images: " in said and "lambda" in said
    assert "--workers 0" in said
    assert script(GUARDED, "fork", "work(lambda image_id: image_id)")[0] == ["LOADED 4"]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Killed. ", "was killed, as happens when memory runs out"),
        ("DataLoader worker (pid 7) is killed by signal: Segmentation fault. ", "ended by SIGSEGV"),
        ("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible", "too little shared memory"),
        (f"DataLoader worker (pid 7) exited unexpectedly with exit code {CALLED_AGAIN}. Details", "without `if __name"),
        ("DataLoader worker (pid 7) exited unexpectedly with exit code 1. Details", "ended with exit status 1"),
        ("DataLoader worker (pid(s) 7) exited unexpectedly", "ended, nobody knows why"),
    ],
)
def test_what_torch_says(text, cause):
    assert cause in str(lost_process(RuntimeError(text)))


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), EOFError(), ConnectionResetError(), KeyError("x")])
def test_other_errors_are_left_alone(error):
    assert lost_process(error) is None


RUN = """
import multiprocessing, os, sys
sys.path.insert(0, os.environ["XAIBENCH_HOME"])
import xaibench


def work():
    results = xaibench.run(
        "sds", model="tiny", dataset="mini", methods="ixg", images=3, workers=2, weights=sys.argv[1], out=sys.argv[2],
        quiet=True,
    )
    print("ROWS", len(results.leaderboard().table))
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_whole_runs(way, home, tmp_path):
    """With the line and without it; without it nothing is printed but the cause, and nothing is stored twice."""
    import torch
    from xaibench_test_network import build

    from xaibench.models.state import save_state

    torch.manual_seed(0)
    save_state(build(10), tmp_path / "w.safetensors", {})
    for lines, status, cause in ((GUARDED, 0, ""), (UNGUARDED, 1, "calls xaibench without `if __name__")):
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(RUN) + lines.format(way=way, call="work()"))
        done = subprocess.run(
            [sys.executable, str(path), "w.safetensors", f"out{status}"], capture_output=True, text=True, timeout=240,
            cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        assert done.stdout.count("ROWS") == 1 - status
        chained = done.stderr.count("the direct cause of the following") + done.stderr.count("During handling of the")
        assert done.stderr.count("Traceback") - chained == status, "one error with its causes, of the script alone"
        assert cause in done.stderr.splitlines()[-1] if cause else done.stderr == ""


@pytest.mark.slow
def test_a_training_can_be_sent(home, tmp_path):
    """Its training images and its validation images."""
    path = tmp_path / "script.py"
    path.write_text(
        textwrap.dedent(RUN).replace('"sds", ', '"idsds", ').replace("weights=sys.argv[1], ", "")
        + GUARDED.format(way="spawn", call="work()")
    )
    done = subprocess.run(
        [sys.executable, str(path), "", "out"], capture_output=True, text=True, timeout=400,
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0 and "ROWS" in done.stdout, done.stderr
