"""Simulates the studies, and prints their tables.

    python leaderboards/scaling/report.py --study Hesse --out hesse.json     # minutes; --repeats 2 for a look
    python leaderboards/scaling/report.py --tables hesse.json world.json --figure scaling.svg --price 2.5

--set NAME=VALUE takes another number of costs.py, such as --set latency=0.005.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from costs import NUMBERS, usual
from figure import draw
from simulation import simulate
from studies import IMAGES, STUDIES, TODAY, WAYS, Study, Way, machines, networks, rules

GPUS = (1, 8, 64, 512)
BETWEEN = (4, 16, 32, 128, 256)  # for the figure, simulated once
SENSITIVE = 64  # GPUs at which each number is varied


def outcomes(study: Study, way: Way, numbers: Mapping[str, float], gpus: int, repeats: int) -> list[dict[str, Any]]:
    """Each repetition's hours, efficiency, shares of time by cause, and what the file system carries."""
    work, found = networks(study, way, numbers), []
    for seed in range(repeats):
        out = simulate(work, machines(numbers, gpus, way), rules(numbers, way), seed)
        shares = {cause: seconds / out.seconds / gpus for cause, seconds in out.spent.items()}
        found.append({
            "hours": out.seconds / 3600, "efficiency": out.efficiency, "shares": shares, "files": out.files,
            "tasks/s": out.files / out.seconds, "requests/s": out.requests / out.seconds, "peak": out.peak,
            "locks/s": sum(n.tasks * n.locks for n in work) / out.seconds, "kills": out.kills,
        })  # fmt: skip
    return found


def simulated(study: Study, ways: Sequence[str], numbers: Mapping[str, float], repeats: int) -> dict[str, Any]:
    """All ways on all numbers of GPUs, and hours where one number at a time has its least and largest value."""
    found = {}
    for name in ways:
        found[name] = {n: outcomes(study, WAYS[name], numbers, n, repeats if n in GPUS else 1)
                       for n in sorted((*GPUS, *BETWEEN))}  # fmt: skip
    varied = {}
    for name, number in NUMBERS.items() if study is STUDIES[0] and "as-it-is" in ways else ():
        ends = [numbers | {name: end} for end in (number.low, number.high)]
        varied[name] = [outcomes(study, TODAY, each, SENSITIVE, 1)[0]["hours"] for each in ends]
    return {"study": study.title, "keys": study.keys, "networks": len(study.networks(numbers)), "ways": found,
            "varied": varied}  # fmt: skip


def table(result: Mapping[str, Any], price: float) -> str:
    """Markdown: hours (median, 95 % range), GPU-hours, cost, efficiency, where time goes, and what folders carry."""
    lines = ["| | GPUs | hours (95 % range) | GPU-hours | cost | efficiency | where the rest goes |",
             "| --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for name, counts in result["ways"].items():
        for gpus in GPUS:
            runs = counts[str(gpus)]
            low, mid, high = np.percentile([run["hours"] for run in runs], [2.5, 50, 97.5])
            causes = {c: statistics.fmean(r["shares"].get(c, 0) for r in runs) for r in runs for c in r["shares"]}
            causes.pop("work")
            most = sorted((c for c in causes if causes[c] >= 0.01), key=causes.get, reverse=True)[:3]
            rest = ", ".join(f"{cause} {causes[cause]:.0%}" for cause in most)
            efficiency = statistics.fmean(run["efficiency"] for run in runs)
            used = mid * gpus
            lines.append(
                f"| {WAYS[name].title} | {gpus} | {mid:,.4g} ({low:,.4g} to {high:,.4g}) | {used:,.0f} | "
                f"${used * price:,.0f} | {efficiency:.0%} | {rest} |"
            )
    return "\n".join(lines)


def carried(result: Mapping[str, Any]) -> str:
    """Markdown: what coordinator and file system carry on most GPUs."""
    lines = ["| on 512 GPUs | tasks/s | locks/s | requests/s, mean and peak | files | rows | GB | kB/s |",
             "| --- | --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    rows = result["keys"] * result["networks"] * IMAGES
    for name, counts in result["ways"].items():
        run = counts[str(GPUS[-1])][0]
        size = rows * (usual()["row"] if result["keys"] < 100 else NUMBERS["row"].low)
        lines.append(
            f"| {WAYS[name].title} | {run['tasks/s']:.3g} | {run['locks/s']:,.0f} | {run['requests/s']:,.0f}, "
            f"{run['peak']:,.0f} | {run['files']:,} | {rows:,.3g} | "
            f"{size / 1e9:.3g} | {size / run['hours'] / 3.6e6:.3g} |"
        )
    return "\n".join(lines)


def half(result: Mapping[str, Any], way: str) -> str:
    """Between which numbers of GPUs the efficiency falls below a half."""
    counts = {int(n): statistics.fmean(r["efficiency"] for r in runs) for n, runs in result["ways"][way].items()}
    above = [n for n, value in counts.items() if value >= 0.5]
    below = [n for n, value in counts.items() if value < 0.5]
    return f"between {max(above)} and {min(below)} GPUs" if below else f"not up to {max(above)} GPUs"


def assumptions() -> str:
    """Markdown: every number."""
    lines = ["| number | value | range | | |", "| --- | --- | --- | --- | --- |"]
    for name, n in NUMBERS.items():
        lines.append(f"| {name} | {n.value:.3g} {n.unit} | {n.low:.3g} to {n.high:.3g} | {n.source} | {n.note} |")
    return "\n".join(lines)


def merged(results: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """One result for each study, with the ways of all files."""
    found: dict[str, dict[str, Any]] = {}
    for result in results:
        known = found.setdefault(result["study"], result)
        known["ways"] |= result["ways"]
        known["varied"] |= result["varied"]
    return found


def main() -> None:
    """Reads the options, and simulates or prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", choices=[study.name for study in STUDIES])
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", choices=None)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tables", type=Path, nargs="*", default=[])
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--price", type=float, default=usual()["price"], help="dollars for a GPU-hour")
    options = parser.parse_args()
    changed = dict(each.split("=", 1) for each in options.set)
    if unknown := [name for name in (*changed, *options.ways.split(",")) if name not in NUMBERS | WAYS]:
        parser.error(f"unknown: {', '.join(unknown)}; numbers are {', '.join(NUMBERS)}; ways are {', '.join(WAYS)}")
    if options.study:
        study = next(study for study in STUDIES if study.name == options.study)
        numbers = usual() | {name: float(value) for name, value in changed.items()}
        text = json.dumps(simulated(study, options.ways.split(","), numbers, options.repeats))
        options.out.write_text(text) if options.out else print(text)
    results = list(merged(json.loads(path.read_text()) for path in options.tables).values())
    for result in results:
        ends = [f"{WAYS[way].title}: below half {half(result, way)}" for way in result["ways"]]
        print(f"\n{result['study']}\n", table(result, options.price), carried(result), "\n".join(ends), sep="\n")
        print(*(f"{name}: {low:.1f} to {high:.1f} h" for name, (low, high) in result["varied"].items()), sep="\n")
    if results:
        print(assumptions())
    if options.figure:
        draw(results, options.figure)


if __name__ == "__main__":
    main()
