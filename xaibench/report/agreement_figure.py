"""The picture of the agreement of boards: a heat map of Kendall's tau, with similar boards side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xaibench.report.inputs import Agreement
from xaibench.report.style import (
    INK,
    QUIET,
    SOFT,
    STYLE,
    WIDTH,
    Page,
    figure_kind,
    save_figure,
    shorten,
    text_width,
    wrap,
)

CELL, LARGEST_CELL = 0.3, 0.52  # inches
TREE = 0.55  # inches
LONGEST = 2.2  # inches of a name
PALETTE = "RdBu"
SIZE = 7.5  # points
NOTHING = "\u2013"  # where a number is undefined


def agreement_figure(found: Agreement, path: str | Path) -> Path:
    """Draws the correlations of all boards to a .png or .svg file, whose path is returned.

    Raises XaibenchError for another suffix or a file that cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    path = Path(path)
    figure_kind(path, ("png", "svg"))
    matrix, reliability = found.matrix, found.boards["reliability"].tolist()
    names = [shorten(name, LONGEST, SIZE) for name in matrix.index]
    longest = max(text_width(name, SIZE) for name in names)
    count = len(names)
    left, right = longest + 0.2, 0.75
    cell = min(LARGEST_CELL, max(CELL, (WIDTH - left - right - TREE) / count))
    side = cell * count
    width = max(WIDTH, left + side + TREE + right + 0.1)
    title = wrap(found.title.split(" · "), width - 0.2, 9, "bold")
    heading, below = 0.5 + 0.19 * len(title), longest + 0.55
    height = heading + side + below
    with matplotlib.rc_context(STYLE):
        page = Page(Figure(figsize=(width, height), facecolor="white"), width, height)
        page.text(0.1, height - 0.12, "\n".join(title), 9, weight="bold", va="top", linespacing=1.35)
        note = "Kendall's tau-b of the orders of methods; similar boards side by side (average linkage of 1 - tau)"
        page.text(0.1, height - 0.17 - 0.19 * len(title), shorten(note, width - 0.2, SIZE), SIZE, SOFT, va="top")
        axes = page.axes(left, below, side, side)
        _cells(axes, matrix.to_numpy(float), cell)
        axes.set_xticks(range(count))
        axes.set_xticklabels(names, rotation=90, size=SIZE, parse_math=False)
        axes.set_yticks(range(count))
        axes.set_yticklabels(names, size=SIZE, parse_math=False)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        _tree(page.axes(left + side + 0.06, below, TREE, side), found, count)
        for row, value in enumerate(reliability):
            text = NOTHING if not np.isfinite(value) else f"{value:.2f}"
            page.text(left + side + TREE + 0.2, below + side - (row + 0.5) * cell, text, 7, SOFT, va="center")
        page.text(left + side + TREE + 0.1, below + side + 0.05, "reliability", 6.5, SOFT)
        _bar(page, max(min(left + side, width - 0.4), 2.3))
        return save_figure(page.figure, path, small=True)


def _cells(axes, values: np.ndarray, cell: float) -> None:
    axes.imshow(np.ma.masked_invalid(values), cmap=PALETTE, vmin=-1, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if row == column:
            continue
        text = f"{value:.2f}".replace("0.", ".", 1).replace("-", "\u2212") if np.isfinite(value) else NOTHING
        dark = np.isfinite(value) and abs(value) > 0.65
        axes.text(column, row, text, ha="center", va="center", size=6 if cell < 0.4 else 7,
                  color="white" if dark else INK)  # fmt: skip
    axes.set_xticks(np.arange(len(values) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(values) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)


def _tree(axes, found: Agreement, count: int) -> None:
    """The clusters beside the rows, the distance to the right."""
    from scipy.cluster.hierarchy import dendrogram

    drawn = dendrogram(found.tree, no_plot=True)
    for x, y in zip(drawn["dcoord"], drawn["icoord"], strict=True):
        axes.plot(x, (np.asarray(y) - 5) / 10, color=QUIET, linewidth=0.8)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_xlim(0, max(max(map(max, drawn["dcoord"])), 1e-9) * 1.03)
    axes.axis("off")


def _bar(page: Page, right: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    axes = page.axes(right - 1.6, 0.3, 1.6, 0.09)
    bar = page.figure.colorbar(ScalarMappable(Normalize(-1, 1), PALETTE), cax=axes, orientation="horizontal")
    bar.outline.set_linewidth(0.4)
    bar.set_ticks([-1, 0, 1], labels=["\u22121 opposite", "0", "1 same order"])
    axes.tick_params(labelsize=6.5, length=1.6, width=0.4, pad=1.2)
