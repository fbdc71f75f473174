"""Hours and efficiency against the number of GPUs, a row for each study:

python leaderboards/scaling/figure.py leaderboards/scaling/simulated.jsonl docs/scaling.png
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from run import STUDIED, read
from studies import STUDIES, WAYS
from tables import Rows, chosen

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#666666")


def draw(rows: Rows, path: Path) -> None:
    """Draws medians of hours and means of the share of work over the simulations, on logarithmic axes of GPUs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawing, axes = pyplot.subplots(len(STUDIES), 2, figsize=(9, 3.4 * len(STUDIES)), squeeze=False)
    for study, (left, right) in zip(STUDIES, axes, strict=True):
        for way, colour in zip(WAYS, COLOURS, strict=True):
            if way not in STUDIED[study.name]:
                continue
            counts = sorted({row["gpus"] for row in rows if (row["study"], row["way"]) == (study.name, way)})
            found = {n: some for n in counts if (some := chosen(rows, study.name, way, n))}
            hours = [statistics.median(row["hours"] for row in some) for some in found.values()]
            shares = [statistics.fmean(row["efficiency"] for row in some) for some in found.values()]
            style = {"marker": "o", "markersize": 3, "color": colour, "linewidth": 1.2}
            left.plot(list(found), hours, **style)
            right.plot(list(found), shares, label=WAYS[way].title.replace("`", ""), **style)
        left.set(xscale="log", yscale="log", ylabel="hours", title=study.name)
        right.set(xscale="log", ylabel="share of all GPU-time that is work", ylim=(0, 1.05), title=study.name)
        right.axhline(0.5, color="grey", linewidth=0.8, linestyle="--")
        right.legend(fontsize=6, loc="lower left")
        for axis in (left, right):
            axis.set_xticks([1, 8, 64, 512], ["1", "8", "64", "512"])
            axis.minorticks_off()
            axis.set_xlabel("GPUs")
    drawing.tight_layout()
    drawing.savefig(path, dpi=100)


if __name__ == "__main__":
    draw(read(Path(sys.argv[1])), Path(sys.argv[2]))
