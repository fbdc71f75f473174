"""The steps of the check, each in a process of its own with a limit of time; the report is written after every one.

Called by check.sh, which says what it needs and how it is used.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import agreement
import machine
import speed
from report import in_short, verdict, write

TOTAL = 455  # seconds for all steps together, under the eight minutes that are promised
LEAST = 15  # seconds without which no step is begun
SHARED = (
    "captum.attr",
    "pytorch_grad_cam",
    "pandas",
    "pyarrow.parquet",
    "scipy.stats",
    "rich.progress",
)  # imported once


@dataclass(frozen=True)
class Options:
    """How the check was called: out is the folder, plant names what a test disturbs."""

    out: Path
    dry: bool
    plant: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """What a step calls, the seconds it may take, and whether a dry run has it."""

    call: Callable[[Options], dict]
    limit: int
    in_dry: bool = True


STEPS = {
    "machine": Step(machine.facts, 60),
    "maps": Step(agreement.maps, 170),
    "scores": Step(agreement.scores, 60),
    "runs": Step(agreement.runs, 200),
    "main": Step(speed.main_job, 120),
    "speed": Step(speed.float32, 110),
    "speed-tf32": Step(speed.tf32, 110, in_dry=False),
    "speed-bfloat16": Step(speed.bfloat16, 90),
}


def main() -> int:
    """Runs the steps that are asked for; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dry", action="store_true", help="tiny inputs on a CPU; another chunk size is the GPU")
    parser.add_argument("--only", default=",".join(STEPS), help="names of steps")
    parser.add_argument(
        "--plant", default="", help="for tests: methods and protocols that the second device gets wrong"
    )
    parser.add_argument("--fresh", action="store_true", help="for tests: fresh processes in a dry run, too")
    words = parser.parse_args()
    wanted = words.only.split(",")
    if unknown := set(wanted) - set(STEPS):
        parser.error(f"unknown step {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}")
    options = Options(words.out, words.dry, tuple(filter(None, words.plant.split(","))))
    (words.out / "work").mkdir(parents=True, exist_ok=True)
    start = multiprocessing.get_context("fork" if words.dry and not words.fresh else "spawn")
    if start.get_start_method() == "fork":
        for module in SHARED:
            importlib.import_module(module)
    began, steps = time.monotonic(), {}
    for name, step in STEPS.items():
        left = TOTAL - (time.monotonic() - began)
        if name not in wanted:
            steps[name] = {"status": "not asked for", "seconds": 0.0}
        elif steps.get("machine", {}).get("status") == "raised":
            steps[name] = {"status": "left out", "why": "the machine is not fit for it", "seconds": 0.0}
        elif words.dry and not step.in_dry:
            steps[name] = {"status": "left out", "why": "a CPU has no TF32", "seconds": 0.0}
        elif left < LEAST:
            steps[name] = {"status": "left out", "why": f"out of time: {left:.0f} s are left", "seconds": 0.0}
        else:
            steps[name] = carried_out(name, options, min(step.limit, left), start)
        told = {"dry": words.dry, "seconds": round(time.monotonic() - began, 1), "steps": steps}
        text = write(words.out, told | verdict(steps))
    print(text)
    return 0 if text.splitlines()[-1].startswith("PASS") else 1


def carried_out(name: str, options: Options, limit: float, start: multiprocessing.context.BaseContext) -> dict:
    """What a step found, or how it failed: it may raise, die or hang without harm to the next."""
    began, found = time.monotonic(), options.out / "work" / f"step-{name}.json"
    process = start.Process(target=in_process, args=(name, options, found))
    process.start()
    process.join(limit)
    late = process.is_alive()
    if late:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with what it started
        process.kill()
        process.join()
    seconds = {"seconds": round(time.monotonic() - began, 1)}
    if late:
        return {"status": "raised", "why": f"stopped after its limit of {limit:.0f} s"} | seconds
    if not found.is_file():
        return {"status": "raised", "why": f"its process ended with status {process.exitcode}"} | seconds
    return json.loads(found.read_text()) | seconds


def in_process(name: str, options: Options, found: Path) -> None:
    """One step: its result, or the exception, goes to a file; what it prints to a log."""
    os.setsid()
    step = STEPS[name]
    log = os.open(options.out / "work" / f"step-{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        answer = {"status": "done", "result": step.call(options)}
    except Exception as error:
        answer = {"status": "raised", "why": in_short(error), "trace": traceback.format_exc()[-2000:]}
    partial = found.with_suffix(".part")
    partial.write_text(json.dumps(answer, default=str))
    partial.replace(found)


if __name__ == "__main__":
    sys.exit(main())
