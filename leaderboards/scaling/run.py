"""Simulates the studies, one simulation a line of a file, from which tables.py makes tables and figure.py a figure.

    python leaderboards/scaling/run.py --out leaderboards/scaling/simulated.jsonl

About three minutes of one core. What the file has is not simulated again. --part 0/2 and --part 1/2 share the work.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from costs import NUMBERS, usual
from simulation import simulate
from studies import BEST, STUDIES, WAYS, machines, networks, rules

GPUS = (1, 8, 64, 512)
BETWEEN = (32, 128, 256)
"""More numbers of GPUs, for the figure and for where the efficiency falls below a half; simulated once."""
REPEATS = {"Hesse": {1: 1, 8: 1, 64: 3, 512: 3}, "World": {1: 1, 8: 1, 64: 1, 512: 2}}
STUDIED = {"Hesse": tuple(WAYS), "World": ("one-gpu", "folders", "spot")}
VARIED = (
    ("Hesse", "node", ("list", "read", "rate")),
    (
        "Hesse", BEST,
        ("pass", "startup", "list", "read", "claim", "latency", "rate", "training gain", "failure", "gpu spread",
         "task spread", "slow share"),
    ),
    ("World", BEST, ("world passes",)),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One simulation. changed: numbers of costs.py that are not as usual."""

    study: str
    way: str
    gpus: int
    seed: int = 0
    changed: dict[str, float] = field(default_factory=dict)


def cases() -> Iterator[Case]:
    """All simulations, those first that say most."""
    for repeat in range(max(REPEATS["Hesse"].values())):
        for study, counts in REPEATS.items():
            for way in STUDIED[study] if repeat == 0 else [way for way in STUDIED[study] if way != "locks"]:
                yield from (Case(study, way, gpus, repeat) for gpus in reversed(counts) if repeat < counts[gpus])
        if repeat == 0:
            yield from sensitivity()
            yield from (Case("Hesse", way, gpus) for way in ("one-gpu", "node", BEST) for gpus in BETWEEN)


def sensitivity() -> Iterator[Case]:
    """Each number that costs much time at its ends, on most GPUs."""
    for study, way, names in VARIED:
        for name in names:
            ends = NUMBERS[name].low, NUMBERS[name].high
            yield from (Case(study, way, GPUS[-1], 0, {name: end}) for end in ends)


def outcome(case: Case) -> dict[str, Any]:
    """Hours, efficiency, shares of all GPU-time by cause, and what table and file system carry."""
    study, way = next(study for study in STUDIES if study.name == case.study), WAYS[case.way]
    numbers = usual() | case.changed
    work = networks(study, numbers)
    out = simulate(work, machines(numbers, case.gpus, way), rules(numbers, way), case.seed)
    shares = {cause: round(seconds / out.seconds / case.gpus, 5) for cause, seconds in out.spent.items() if seconds}
    return asdict(case) | {
        "hours": round(out.seconds / 3600, 4), "efficiency": round(out.efficiency, 5), "shares": shares,
        "files": out.files, "claims/s": round(out.claims / out.seconds, 3), "peak": round(out.peak, 1),
        "requests/s": round(out.requests / out.seconds, 2), "kills": out.kills,
    }  # fmt: skip


def read(path: Path) -> list[dict[str, Any]]:
    """The outcomes of a file; a last line that a killed process left incomplete is left out."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def main() -> None:
    """Reads the options and simulates what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", default="0/1", metavar="K/N")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    names = list(asdict(Case("", "", 0)))
    done = [{name: row[name] for name in names} for row in read(options.out)]
    for number, case in enumerate(cases()):
        if number % parts == part and asdict(case) not in done:
            line = json.dumps(outcome(case)) + "\n"
            with options.out.open("a") as file:
                file.write(line)


if __name__ == "__main__":
    main()
