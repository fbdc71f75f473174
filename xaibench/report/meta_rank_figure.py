"""The picture of ranks over settings: a line per method from board to board, the least alike board first."""

from __future__ import annotations

from pathlib import Path

from xaibench.report.inputs import MetaRank
from xaibench.report.style import (
    ACCENT,
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

ROW, STEP = 0.24, 0.9  # inches a rank, and a board at least
LONGEST, LONGEST_METHOD = 2.0, 1.7  # inches of a name of a board, and of a method
SIZE = 7.5  # points
STEADY = 1.0  # the spread up to which a line is drawn in the colour of what stays


def meta_rank_figure(found: MetaRank, path: str | Path) -> Path:
    """Draws the rank of each method on each board to a .png or .svg file, whose path is returned.

    Raises XaibenchError for another suffix or a file that cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    path = Path(path)
    figure_kind(path, ("png", "svg"))
    methods, names = found.table["method"].tolist(), [shorten(name, LONGEST, SIZE) for name in found.ranks.columns]
    labels = [f"{row.mean_rank:.1f} ± {row.spread:.1f}" for row in found.table.itertuples()]
    shown = [shorten(name, LONGEST_METHOD, SIZE) for name in methods]
    right = max(text_width(f"{name}  {label}", SIZE) for name, label in zip(shown, labels, strict=True)) + 0.3
    left, count = 0.5, len(names)
    side = max(WIDTH - left - right, STEP * (count - 1))
    width = left + side + right
    title = wrap(found.title.split(" · "), width - 0.2, 9, "bold")
    heading, below = 0.55 + 0.19 * len(title), max(text_width(name, SIZE) for name in names) + 0.25
    across = ROW * len(methods)
    height = heading + across + below
    with matplotlib.rc_context(STYLE):
        page = Page(Figure(figsize=(width, height), facecolor="white"), width, height)
        page.text(0.1, height - 0.12, "\n".join(title), 9, weight="bold", va="top", linespacing=1.35)
        note = "rank on each board, the least alike first; right: mean rank ± standard deviation (grey: above 1)"
        page.text(0.1, height - 0.17 - 0.19 * len(title), shorten(note, width - 0.2, SIZE), SIZE, SOFT, va="top")
        axes = page.axes(left, below, side, across)
        for number, row in enumerate(found.table.itertuples()):
            steady = row.spread <= STEADY
            colour, order = (ACCENT, 3) if steady else (QUIET, 2)
            axes.plot(range(count), found.ranks.iloc[number], marker="o", markersize=3, color=colour, zorder=order)
            y = below + across * (1 - (number + 0.5) / len(methods))
            page.text(left + side + 0.12, y, f"{shown[number]}  {labels[number]}", SIZE, INK if steady else SOFT,
                      va="center")  # fmt: skip
        axes.set_xlim(-0.15, count - 0.85)
        axes.set_ylim(len(methods) + 0.5, 0.5)
        axes.set_xticks(range(count))
        axes.set_xticklabels(names, rotation=90, size=SIZE, parse_math=False)
        axes.set_yticks(range(1, len(methods) + 1))
        axes.tick_params(length=0, labelsize=SIZE)
        axes.grid(axis="y", color="#eeeeee", linewidth=0.6)
        axes.set_axisbelow(True)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return save_figure(page.figure, path, small=True)
