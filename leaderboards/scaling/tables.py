"""Markdown tables of the simulated studies: `python tables.py simulated.jsonl`."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from costs import NUMBERS, usual
from run import GPUS, STUDIED, VARIED, read
from studies import IMAGES, STUDIES, WAYS, Study

FOR_A_RANGE = 3
"""Simulations."""
Rows = Sequence[dict[str, Any]]


def chosen(rows: Rows, study: str, way: str, gpus: int) -> list[dict[str, Any]]:
    """The simulations of a case, of which seeds differ."""
    return [row for row in rows if (row["study"], row["way"], row["gpus"], row["changed"]) == (study, way, gpus, {})]


def times(rows: Rows, study: str, price: float) -> str:
    """Hours (median, and 95 % range where there are three simulations), GPU-hours, cost, efficiency, and other time."""
    lines = ["| | GPUs | hours (95 % range) | GPU-hours | cost | work | the rest |", "| --- " * 7 + "|"]
    for way in STUDIED[study]:
        for gpus in GPUS:
            found = chosen(rows, study, way, gpus)
            if not found:
                continue
            low, mid, high = np.percentile([row["hours"] for row in found], [2.5, 50, 97.5])
            span = f" ({low:,.3g} to {high:,.3g})" if len(found) >= FOR_A_RANGE else ""
            causes = {c for row in found for c in row["shares"]} - {"work"}
            means = {cause: statistics.fmean(row["shares"].get(cause, 0) for row in found) for cause in causes}
            most = sorted((cause for cause in means if means[cause] >= 0.01), key=means.get, reverse=True)[:3]
            rest = ", ".join(f"{cause} {means[cause]:.0%}" for cause in most)
            work = statistics.fmean(row["efficiency"] for row in found)
            title = WAYS[way].title if gpus == GPUS[0] else ""
            lines.append(
                f"| {title} | {gpus} | {number(mid)}{span} | {mid * gpus:,.0f} | "
                f"${mid * gpus * price:,.0f} | {work:.0%} | {rest} |"
            )
    return "\n".join(lines)


def number(value: float) -> str:
    """Hours with one decimal below a hundred."""
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def carried(rows: Rows, study: Study) -> str:
    """What the table of claims, the file system and the disk carry on most GPUs."""
    names = ["claims/s", "requests/s", "peak of 10 minutes", "files", "rows", "GB", "kB/s"]
    lines = ["| on 512 GPUs | " + " | ".join(names) + " |", "| --- " * (len(names) + 1) + "|"]
    count = study.keys * len(study.networks(usual())) * IMAGES
    size = count * (usual()["row"] if study.name == "Hesse" else NUMBERS["row"].low)
    for way in STUDIED[study.name]:
        found = chosen(rows, study.name, way, GPUS[-1])
        if found:
            hours, claims, requests, peak = (
                statistics.median(row[name] for row in found) for name in ("hours", "claims/s", "requests/s", "peak")
            )
            lines.append(
                f"| {WAYS[way].title} | {claims:,.3g} | {requests:,.0f} | {peak:,.0f} | {found[0]['files']:,} | "
                f"{count / 1e6:,.0f} million | {size / 1e9:.3g} | {size / hours / 3.6e6:.3g} |"
            )
    return "\n".join(lines)


def half(rows: Rows, study: str, way: str) -> str:
    """Between which numbers of GPUs less than a half of all time is work."""
    counts = sorted({row["gpus"] for row in rows if (row["study"], row["way"]) == (study, way)})
    found = {n: [row["efficiency"] for row in chosen(rows, study, way, n)] for n in counts}
    below = [n for n in counts if found[n] and statistics.fmean(found[n]) < 0.5]
    above = [n for n in counts if found[n] and statistics.fmean(found[n]) >= 0.5]
    return f"between {max(above)} and {min(below)}" if below else f"not up to {max(above)}"


def sensitivity(rows: Rows) -> str:
    """Hours and share of work on most GPUs where one number has its least and its largest value."""
    lines = ["| study | number | range | hours | work |", "| --- " * 5 + "|"]
    for study, way, names in VARIED:
        for name in names:
            case = (study, way)
            ends = [row for row in rows if (row["study"], row["way"]) == case and name in row["changed"]]
            ends.sort(key=lambda row, name=name: row["changed"][name])
            if len(ends) == 2:
                known = NUMBERS[name]
                hours = " to ".join(number(row["hours"]) for row in ends)
                work = " to ".join(f"{row['efficiency']:.0%}" for row in ends)
                span = f"{known.low:.3g} to {known.high:.3g} {known.unit}"
                where = f"{study}, {'one folder' if way == 'node' else 'a folder for each network'}"
                lines.append(f"| {where} | {name} | {span} | {hours} | {work} |")
    return "\n".join(lines)


def assumptions() -> str:
    """Every number with its range and where it is from."""
    lines = ["| number | value | range | | |", "| --- " * 5 + "|"]
    for name, n in NUMBERS.items():
        lines.append(f"| {name} | {n.value:.3g} {n.unit} | {n.low:.3g} to {n.high:.3g} | {n.source} | {n.note} |")
    return "\n".join(lines)


def main() -> None:
    """Prints all tables of a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--price", type=float, default=usual()["price"], help="dollars for a GPU-hour")
    options = parser.parse_args()
    rows = read(options.file)
    for study in STUDIES:
        ends = [f"- {WAYS[way].title}: {half(rows, study.name, way)} GPUs" for way in STUDIED[study.name]]
        print(f"\n### {study.title}\n", times(rows, study.name, options.price), "", carried(rows, study), sep="\n")
        print("\nLess than a half of the time is work:\n", *ends, sep="\n")
    print("\n### Sensitivity\n", sensitivity(rows), "\n### Numbers\n", assumptions(), sep="\n")


if __name__ == "__main__":
    main()
