"""A training whose process is killed ends, when the same command is given again, as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import xaibench
from xaibench.models.state import file_digest

CHECKOUT = Path(xaibench.__file__).parents[1]
WORDS = (
    "train", "classifier", "--model", "tiny", "--dataset", "mini", "--device", "cpu", "--quiet", "--workers", "0",
    "--epochs", "8", "--recipe", "optimizer=adam", "--recipe", "accumulation=2", "--recipe", "gradient_clip=0.5",
    "--batch-size", "8", "--dataset-option", "count=192", "--recipe", "head_epochs=3", "--recipe", "milestones=[2]",
)  # fmt: skip


def start(own):
    path = os.pathsep.join([str(CHECKOUT), os.environ["XAIBENCH_HOME"]])
    environment = os.environ | {"XAIBENCH_HOME": str(own), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "xaibench", *WORDS], env=environment, start_new_session=True)


def result(own):
    """The digest of the weights, and the metrics of every epoch without their times."""
    (folder,) = (own / "models").iterdir()
    rows = pq.read_table(folder / "metrics.parquet").to_pylist()
    return file_digest(folder / "weights.safetensors"), [
        {k: v for k, v in row.items() if "seconds" not in k} for row in rows
    ]


@pytest.mark.slow
def test_kill_9_in_the_second_epoch(home, tmp_path):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cards").symlink_to(home / "cards")
    assert start(tmp_path / "whole").wait(300) == 0
    process = start(tmp_path / "killed")
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("killed/models/*/checkpoint/history.json")) and time.monotonic() < deadline:
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (folder,) = (tmp_path / "killed" / "models").iterdir()
    done = len(pq.read_table(folder / "metrics.parquet"))
    assert 1 <= done < 8 and not (folder / "weights.safetensors").exists(), "killed in the middle"
    assert start(tmp_path / "killed").wait(300) == 0
    assert result(tmp_path / "killed") == result(tmp_path / "whole")
