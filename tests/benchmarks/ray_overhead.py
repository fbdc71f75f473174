"""What the engine of Ray costs beside two local processes: the same images on the same cores, by a method that sleeps.

    python tests/benchmarks/ray_overhead.py --shards 60 --sleep 6

prints a table: how long until the first map, from the first to the last, and to the end; the seconds of CPU of all
processes; and how long a core waits between two shards. A method that sleeps in place of computing leaves the CPU to
what is measured, the engines. Both share one small network; each leaves a results folder of its own.
docs/machines.md holds the table.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from xaibench.datasets.critters import Critters

METHOD = """
import os, time, torch, xaibench

@xaibench.method("asleep")
def asleep(evidence):
    began = time.time()
    time.sleep(float(os.environ["XAIBENCH_SLEEP"]))
    with open("times.txt", "a") as file:
        file.write(f"{os.getpid()} {began} {time.time()}\\n")
    return torch.arange(4.0).reshape(1, 1, 2, 2).repeat(len(evidence.targets), 1, 1, 1)
"""
NETWORK = """
from torch import nn

def build(num_classes):
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(8, num_classes))
"""
TICKS = os.sysconf("SC_CLK_TCK")
SHARD = 8  # images


def start(folder: Path, sleep: float, words: list[str]) -> subprocess.Popen:
    """`xaibench run` with some words, in a folder and with one thread."""
    environment = os.environ | {"XAIBENCH_SLEEP": str(sleep), "OMP_NUM_THREADS": "1", "XAIBENCH_HOME": str(folder)}
    command = [
        sys.executable, "-m", "xaibench", "run", "sds", "--model", "net.py:build", "--weights", "net.pt",
        "--methods", "asleep", "--plugin",
        "asleep.py", "--batch-size", str(SHARD), "--chunk-size", "8", "--device", "cpu", "--workers", "0", *words,
    ]  # fmt: skip
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def seconds_of(number: int) -> tuple[int, float]:
    """The parent of a process, and its seconds of CPU."""
    fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS


def measure(folder: Path, sleep: float, commands: list[list[str]]) -> dict[str, float]:
    """Times of some commands that run at once, with all their processes."""
    (folder / "times.txt").unlink(missing_ok=True)
    began, seconds = time.time(), {}
    processes = [start(folder, sleep, words) for words in commands]
    while any(process.poll() is None for process in processes):
        seen = {}
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                seen[int(path.name)] = seconds_of(int(path.name))
        mine = {process.pid for process in processes}
        while more := {number for number, (parent, _) in seen.items() if parent in mine} - mine:
            mine |= more
        seconds |= {number: seen[number][1] for number in mine if number in seen}
        time.sleep(1.0)
    assert not any(process.returncode for process in processes), [process.returncode for process in processes]
    calls = np.array([line.split() for line in (folder / "times.txt").read_text().splitlines()], float)
    gaps = [np.diff(one[:, 1:], axis=0) for one in (calls[calls[:, 0] == pid] for pid in set(calls[:, 0]))]
    return {
        "in all, s": time.time() - began,
        "until the first map, s": calls[:, 1].min() - began,
        "from the first to the last map, s": calls[:, 2].max() - calls[:, 1].min(),
        "after the last map, s": time.time() - calls[:, 2].max(),
        "a shard and core, s": float(np.concatenate(gaps)[:, 0].mean()),
        "CPU of all processes, s": sum(seconds.values()),
        "shards": len(calls),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shards", type=int, default=60, help=f"of {SHARD} images")
    parser.add_argument("--sleep", type=float, default=6.0, help="seconds a shard")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "asleep.py").write_text(METHOD)
        (folder / "net.py").write_text(NETWORK)
        made: dict = {}
        exec(NETWORK, made)
        torch.manual_seed(0)
        torch.save(made["build"](len(Critters("test", count=1).classes)).state_dict(), folder / "net.pt")
        images = ["--images", str(SHARD * asked.shards)]
        ways = {
            "two processes": [[*images, "--out", "a", "--shard", f"{part}/2"] for part in (1, 2)],
            "Ray, two tasks": [[*images, "--out", "b", "--engine", "ray"]],
        }
        found = {way: measure(folder, asked.sleep, commands) for way, commands in ways.items()}
    print(f"| {asked.shards} shards that sleep {asked.sleep:g} s | {' | '.join(found)} |\n| --- | --- | --- |")
    for row in found["two processes"]:
        print(f"| {row} | {' | '.join(f'{one[row]:.4g}' for one in found.values())} |")


if __name__ == "__main__":
    main()
