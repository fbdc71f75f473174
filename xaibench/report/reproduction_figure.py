"""The picture of a study, as papers on attribution quality draw theirs: a column per board or arm, a mark per method,
and lines between the same methods; where scores are printed, the printed ones are the first column. Figures of another
form are drawn panel by panel (`reproduction_panels`)."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from xaibench.printing import NO_METHOD, clean
from xaibench.report.inputs import Reproduction
from xaibench.report.reproduction_panels import MARKERS, draw_panel
from xaibench.report.style import COLOURS, INK, QUIET, SOFT, STYLE, WIDTH, save_figure, shorten
from xaibench.report.text import UNRANKED_KINDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OF_METHODS = (*COLOURS, INK)
HEIGHT = 4.6  # inches of the axes
BELOW, BELOW_TILTED = 0.75, 1.3  # inches below the lowest axes
LONGEST = 1.6  # inches of a tilted label


def reproduction_figure(found: Reproduction, path: Path) -> Path | None:
    """Draws the scores of a study to a .png, .svg or .pdf file; None where it has no scores."""
    import matplotlib
    from matplotlib.figure import Figure

    table = _columns(found)
    drawn = list(found.panels)
    if len(table) and (not found.card.figure or any(one.kind == "methods" for one in found.card.figure)):
        drawn.append(None)  # columns of scores
    if not drawn:
        return None
    with matplotlib.rc_context(STYLE):
        title = textwrap.wrap(clean(found.title), 80)
        below = BELOW_TILTED if drawn[-1] is None and _tilted(table) else BELOW
        height = (HEIGHT + 0.8) * len(drawn) + below - BELOW + 0.19 * len(title) + 0.15
        figure = Figure(figsize=(WIDTH, height), facecolor="white")
        figure.text(0.02, 1 - 0.12 / height, "\n".join(title), va="top", weight="bold", parse_math=False)
        for number, panel in enumerate(reversed(drawn)):
            place = ((HEIGHT + 0.8) * number + below) / height
            axes = figure.add_axes((0.12, place, 0.6, HEIGHT / height))
            if panel is None:
                _strips(axes, found, table)
            else:
                draw_panel(axes, panel)
        return save_figure(figure, path, small=True)


def _columns(found: Reproduction) -> pd.DataFrame:
    """Scores by method and column, the printed ones first where they are scores of methods."""
    ranked = [name for name in found.scores.index if found.kinds.get(name) not in UNRANKED_KINDS]
    table = found.scores.loc[ranked].dropna(axis=1, how="all")
    for one in found.beside:
        printed = one.table.set_index("name")["printed"].rename(str.lower)
        if len(table) and set(printed.index) & set(table.index):
            table = pd.concat({f"printed: {one.quantity}": printed.reindex(table.index)}, axis=1).join(table)
    return table


def _strips(axes: Axes, found: Reproduction, table: pd.DataFrame) -> None:
    order = table.mean(axis=1).sort_values(ascending=False).index
    places = np.arange(table.shape[1])
    for number, method in enumerate(order):
        values = table.loc[method].to_numpy(float)
        colour, mark = OF_METHODS[number % len(OF_METHODS)], MARKERS[number // len(OF_METHODS) % len(MARKERS)]
        label = None if method == NO_METHOD else clean(method)
        axes.plot(places, values, mark, color=colour, markersize=5, label=label)
        if label:  # there is nothing that boards of networks alone share
            axes.plot(places, values, color=colour, linewidth=0.8, alpha=0.6)
    axes.set_xticks(places)
    if _tilted(table):
        labels = [shorten(name, LONGEST, 7) for name in table.columns]
        axes.set_xticklabels(labels, size=7, parse_math=False, rotation=40, ha="right", rotation_mode="anchor")
    else:
        labels = [textwrap.fill(_spaced(name), _wide(table)) for name in table.columns]
        axes.set_xticklabels(labels, size=7, parse_math=False)
    axes.set_xlim(-0.4, len(places) - 0.6)
    axes.set_ylabel(clean(found.metric) or "mean score", color=INK, parse_math=False)
    axes.axhline(0, color=QUIET, linewidth=0.8)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=SOFT)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=7)


def _tilted(table: pd.DataFrame) -> bool:
    """Whether the names of columns stand aslant: a word of them is wider than its column."""
    words = [word for name in table.columns for word in re.split("[ -]", _spaced(name))]
    return max(map(len, words), default=0) > _wide(table)


def _wide(table: pd.DataFrame) -> int:
    """How many characters a column has room for."""
    return 84 // max(1, table.shape[1])


def _spaced(name: object) -> str:
    return clean(name).replace("_", " ")
