"""The scripts of the page on many machines: their commands parse, and arrays of jobs leave one whole run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from xaibench.results.manifest import load_runs
from xaibench.results.store import Store

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which("bash") is None, reason="the page's scripts are for a shell"),
]

PAGE = (Path(__file__).parents[2] / "docs" / "machines.md").read_text()
BLOCKS = [found[1] for found in re.finditer(r"^```(?:bash)?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]
SHELL = """
xaibench() { printf '%s\\x1f' "$@"; printf '\\x1e'; }
srun() { "$@"; }
ray() { while [ "$1" != -- ]; do shift; done; shift; "$@"; }
scontrol() { echo node1; echo node2; }
pip() { :; }
"""
SMALL = {
    "idsds": "sds", "resnet50": "tiny --dataset mini", "resnet18": "tiny --dataset mini", "50000": "40",
    "--quiet &": "--quiet",
}  # fmt: skip


def commands(block: str, **variables: object) -> list[list[str]]:
    """The words of the commands of xaibench in a block, as a shell gives them, with small networks and data."""
    for large, small in SMALL.items():
        block = block.replace(large, small)
    given = {name: str(value) for name, value in variables.items()} | {
        "PATH": "/usr/bin:/bin",
        "SLURM_JOB_NODELIST": "",
    }
    result = subprocess.run(["bash", "-c", SHELL + block], capture_output=True, text=True, env=given, check=True)
    return [line.split("\x1f")[:-1] for line in result.stdout.split("\x1e")[:-1]]


@pytest.mark.parametrize("block", [block for block in BLOCKS if "cluster.yaml" not in block])
def test_commands_parse(block, home, command):
    found = commands(block, SLURM_ARRAY_TASK_ID=3, SLURM_ARRAY_TASK_COUNT=8)
    assert found
    for words in found:
        if words[0] == "run":
            status, out, error = command(*words, "--print-config")
            assert status == 0 and ("shard" in out or 'engine = "ray"' in out), error


@pytest.mark.parametrize("text", [pytest.param("--array", marks=pytest.mark.slow), "CUDA_VISIBLE_DEVICES"])
def test_parts_leave_one_whole_run(text, home, command):
    (block,) = [block for block in BLOCKS if text in block]
    jobs = range(1, 9) if text == "--array" else [1]
    found = [words for job in jobs for words in commands(block, SLURM_ARRAY_TASK_ID=job, SLURM_ARRAY_TASK_COUNT=8)]
    runs = [words for words in found if words[0] == "run"]
    assert len(runs) == 8
    for words in runs:
        assert command(*words, "--methods", "ixg,random", "--batch-size", "4")[0] == 0
    store = Store.open("results")
    assert store.rows()["image_id"].nunique() == 40
    assert [run.status for run in load_runs(store)][-1] == "complete"
    files = store.shards()
    whole = ("--images", "40", "--methods", "ixg,random", "--batch-size", "4")
    assert command("run", "sds", "--model", "tiny", "--dataset", "mini", *whole)[0] == 0
    assert store.shards() == files, "the whole command computes nothing"
