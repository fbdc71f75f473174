"""Hours and efficiency against the number of GPUs, one row for each study."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies import WAYS


def draw(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws medians of hours and means of efficiency over the simulations, on logarithmic axes of GPUs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawing, rows = pyplot.subplots(len(results), 2, figsize=(9, 3.3 * len(results)), squeeze=False, sharex=True)
    for result, (left, right) in zip(results, rows, strict=True):
        for name, counts in result["ways"].items():
            gpus = [int(n) for n in counts]
            hours = [statistics.median(run["hours"] for run in runs) for runs in counts.values()]
            shares = [statistics.fmean(run["efficiency"] for run in runs) for runs in counts.values()]
            left.plot(gpus, hours, marker="o", markersize=3, label=WAYS[name].title)
            right.plot(gpus, shares, marker="o", markersize=3)
        left.set(xscale="log", yscale="log", ylabel="hours", title=result["study"].split(":")[0])
        right.set(xscale="log", ylabel="efficiency", ylim=(0, 1.1))
        right.axhline(0.5, color="grey", linewidth=0.8, linestyle="--")
        left.set_xticks(gpus, [str(n) for n in gpus], minor=False, fontsize=7)
        left.minorticks_off()
        left.legend(fontsize=7)
    for axes in rows[-1]:
        axes.set_xlabel("GPUs")
    drawing.tight_layout()
    drawing.savefig(path, dpi=90)
