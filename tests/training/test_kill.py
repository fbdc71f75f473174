"""A training whose process is killed ends, when the same command is given again, as if nothing had happened."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import xaibench
from xaibench.models.state import read_state, tensors_digest

CHECKOUT = Path(xaibench.__file__).parents[1]
COMMON = (
    "--model", "tiny", "--dataset", "mini", "--device", "cpu", "--quiet", "--workers", "0", "--batch-size", "8",
    "--dataset-option", "count=192",
)  # fmt: skip
EPOCHS = 8
WAYS = {
    "plain": (
        "classifier", "--recipe", "optimizer=adam", "--recipe", "accumulation=2", "--recipe", "gradient_clip=0.5",
        "--recipe", "head_epochs=3", "--recipe", "milestones=[2]",
    ),
    "overfitted": ("classifier", "--fit", "over", "--recipe", "augmentation=crop-flip"),
    "aligned": ("patch-deletion", "--grid", "4", "--recipe", "start=scratch"),
    "cgc": ("cgc",),
    "lico": ("lico", "--text-encoder", "words", "--contexts", "3"),
    "adversarial": ("adversarial", "--epsilon", "8/255", "--steps", "2"),
    "guided": ("guided", "--annotations", "masks", "--fraction", "0.5", "--choose", "score", "--test-images", "8"),
}  # fmt: skip


def arguments(way):
    return ("train", WAYS[way][0], *COMMON, "--epochs", str(EPOCHS), *WAYS[way][1:])


def start(own, way):
    path = os.pathsep.join([str(CHECKOUT), os.environ["XAIBENCH_HOME"]])
    environment = os.environ | {"XAIBENCH_HOME": str(own), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "xaibench", *arguments(way)], env=environment, start_new_session=True
    )


def timeless(key_fields):
    """Facts without the times in them."""
    if isinstance(key_fields, dict):
        return {key: timeless(value) for key, value in key_fields.items() if "seconds" not in key}
    return [timeless(fact) for fact in key_fields] if isinstance(key_fields, list) else key_fields


def results(own):
    """All weights with their headers, and the metrics of all epochs, by file."""
    states = {path: read_state(path) for path in own.glob("models/**/*.safetensors")}
    tables = {path: pq.read_table(path).to_pylist() for path in own.glob("models/**/*.parquet")}
    found = {path: (tensors_digest(state.tensors), timeless(state.header)) for path, state in states.items()} | {
        path: timeless(rows) for path, rows in tables.items()
    }
    return {str(path.relative_to(own)): value for path, value in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_kill_9_in_the_second_epoch(way, home, command, monkeypatch, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    (whole / "cards").symlink_to(home / "cards")
    if way == "adversarial":  # begins with the plain weights
        with monkeypatch.context() as own:
            own.setenv("XAIBENCH_HOME", str(whole))
            assert command("train", "classifier", *COMMON, "--epochs", "1")[0] == 0
    shutil.copytree(whole, killed, symlinks=True)
    assert start(whole, way).wait(300) == 0
    folder = f"models/tiny-mini-{way}-*"  # not that of the baseline, which guidance trains first
    process = start(killed, way)
    deadline = time.monotonic() + 300
    while not list(killed.glob(f"{folder}/checkpoint/history.json")) and time.monotonic() < deadline:
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (folder,) = killed.glob(folder)
    done = len(pq.read_table(folder / "metrics.parquet"))
    assert 1 <= done < EPOCHS and not (folder / "weights.safetensors").exists(), "killed in the middle"
    assert start(killed, way).wait(300) == 0
    expected, found = results(whole), results(killed)
    assert found == expected and f"models/{folder.name}/weights.safetensors" in found


def test_what_a_process_left_that_was_killed_after_it_stored_the_weights_goes(home, monkeypatch, tmp_path):
    """The next command finds the weights; the working files may be larger than they. Another process keeps its own."""
    from xaibench.locks import claim
    from xaibench.training.api import plan_training
    from xaibench.training.config import TrainingConfig

    monkeypatch.setenv("XAIBENCH_HOME", str(tmp_path / "own"))
    shutil.copytree(home / "cards", tmp_path / "own" / "cards")
    training = plan_training(TrainingConfig(model="tiny", dataset="mini"))
    folder = training.path.parent
    (folder / "checkpoint").mkdir(parents=True)
    for path in (training.path, folder / "best.safetensors", folder / "checkpoint" / "model.safetensors"):
        path.write_bytes(b"weights")
    with claim(folder, ["training"], "xaibench train", ""):
        assert training.run() == training.path and (folder / "checkpoint").is_dir()
    assert training.run() == training.path
    assert {path.name for path in folder.iterdir()} <= {"weights.safetensors", "training.lock"}
