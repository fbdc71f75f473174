"""Panels of a study's figure: points (scores against accuracies), lines over an option of the training, box plots of
groups, and bars of printed numbers."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from xaibench.printing import clean
from xaibench.report.inputs import FigurePanel
from xaibench.report.style import COLOURS, INK, QUIET, SOFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "os^DvP*X"
LEGEND = 26  # characters of a line
MANY = 12  # boxes, above which their names stand upright


def draw_panel(axes: Axes, panel: FigurePanel) -> None:
    """Draws a panel into axes, with its legend on the right."""
    {"points": _points, "lines": _lines, "boxes": _boxes, "bars": _bars, "beside": _beside}[panel.kind](axes, panel)
    axes.set_xlabel(clean(panel.x), color=INK, parse_math=False)
    axes.set_ylabel(clean(panel.y), color=INK, parse_math=False)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=SOFT)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _points(axes: Axes, panel: FigurePanel) -> None:
    """A colour per series and a form per group; a ring around the mean of several points."""
    table = panel.table
    series, groups = list(dict.fromkeys(table["series"])), list(dict.fromkeys(table["group"]))
    for number, name in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        for place, group in enumerate(groups):
            part = table[(table["series"] == name) & (table["group"] == group)]
            form = MARKERS[(place + (number // len(COLOURS) if len(groups) == 1 else 0)) % len(MARKERS)]
            label = textwrap.fill(", ".join(filter(None, [clean(name), clean(group)])), LEGEND)
            axes.plot(
                part["x"], part["y"], form, color=colour, markersize=5, alpha=0.85, label=label if len(part) else None
            )
            if len(part) > 1:  # the mean of its trainings
                axes.plot(part["x"].mean(), part["y"].mean(), form, color=colour, markersize=10, markerfacecolor="none")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=7)


def _beside(axes: Axes, panel: FigurePanel) -> None:
    """A mark per number, a colour per series, and the line on which ours are the printed ones."""
    for number, (name, part) in enumerate(panel.table.groupby("series", sort=False)):
        axes.plot(
            part["x"], part["y"], MARKERS[number % len(MARKERS)], color=COLOURS[number % len(COLOURS)], markersize=5,
            alpha=0.85, label=textwrap.fill(clean(name), LEGEND),
        )  # fmt: skip
    axes.axline((panel.table["x"].iloc[0],) * 2, slope=1, color=QUIET, linewidth=0.8)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=7)


def _lines(axes: Axes, panel: FigurePanel) -> None:
    """A line per series through the means of each x, a mark per training; a dashed level for series without an x."""
    table = panel.table
    shown = np.sort(table["x"].dropna().unique())
    for number, name in enumerate(dict.fromkeys(table["series"])):
        part = table[table["series"] == name]
        colour, mark = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        label = textwrap.fill(clean(name), LEGEND)
        if part["x"].isna().all():
            axes.axhline(part["y"].mean(), color=colour, linestyle="--", linewidth=1, label=label)
            continue
        means = part.groupby("x")["y"].mean()
        axes.plot(means.index, means, mark + "-", color=colour, linewidth=1.2, markersize=6, label=label)
        axes.plot(part["x"], part["y"], mark, color=colour, markersize=3, alpha=0.5)
    if len(shown) > 1 and shown[0] > 0 and shown[-1] / shown[0] >= 10:
        axes.set_xscale("log")
    axes.set_xticks(shown, [f"{x:g}" for x in shown], size=7)
    axes.minorticks_off()
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=7)


def _boxes(axes: Axes, panel: FigurePanel) -> None:
    """Quartiles, the median as a line and the mean as a white dot; whiskers of 1.5 times the distance of quartiles."""
    groups = list(dict.fromkeys(panel.table["group"]))
    values = [panel.table.loc[panel.table["group"] == group, "value"].to_numpy(float) for group in groups]
    drawn = axes.boxplot(
        values, patch_artist=True, widths=0.6, medianprops={"color": INK}, flierprops={"markersize": 3}, showmeans=True,
        meanprops={"marker": "o", "markerfacecolor": "white", "markeredgecolor": INK, "markersize": 4},
    )  # fmt: skip
    for box in drawn["boxes"]:
        box.set(facecolor=COLOURS[5], edgecolor=QUIET)
    many = len(groups) > MANY
    width = 40 if many else max(6, min(9, 72 // len(groups)))
    names = [textwrap.fill(clean(name), width, break_long_words=False) for name in groups]
    axes.set_xticks(np.arange(1, len(groups) + 1), names, size=7, rotation=90 if many else 0)


def _bars(axes: Axes, panel: FigurePanel) -> None:
    names = [textwrap.fill(clean(name), 18) for name in panel.table["name"]]
    places = np.arange(len(names))
    axes.bar(places, panel.table["value"].to_numpy(float), color=COLOURS[0], width=0.6)
    axes.set_xticks(places, names, size=7, parse_math=False)
