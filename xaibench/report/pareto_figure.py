"""The picture of a Pareto front: mean score against cost or accuracy, with the front as a line."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from xaibench.printing import clean
from xaibench.report.inputs import Pareto
from xaibench.report.pareto_page import AXES
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

HEIGHT = 3.9  # inches of the axes
SIZE = 7.0  # points of labels
LINE = 0.125  # inches of a label's height
LONGEST = 1.7  # inches of a label


def pareto_figure(found: Pareto, path: str | Path) -> Path:
    """Draws the points, their intervals and the front to a .png or .svg file, whose path is returned.

    Raises XaibenchError for another suffix or a file that cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    path = Path(path)
    figure_kind(path, ("png", "svg"))
    title = wrap(found.title.split(" · "), WIDTH - 0.2, 9, "bold")
    heading, below = 0.42 + 0.19 * len(title), 0.5
    height = heading + HEIGHT + below
    table = found.table
    x, y = table[found.x].to_numpy(float), table["mean"].to_numpy(float)
    front = table["on_front"].to_numpy(bool)
    with matplotlib.rc_context(STYLE):
        page = Page(Figure(figsize=(WIDTH, height), facecolor="white"), WIDTH, height)
        page.text(0.1, height - 0.12, "\n".join(title), 9, weight="bold", va="top", linespacing=1.35)
        end = "higher" if found.higher_is_better else "lower"
        note = f"mean {clean(found.metric)} ({end} is better) with 95 % intervals; blue: on the front, beaten by none"
        page.text(0.1, height - 0.17 - 0.19 * len(title), shorten(note, WIDTH - 0.2, 7.5), 7.5, SOFT, va="top")
        axes = page.axes(0.62, below, WIDTH - 0.75, HEIGHT)
        _axis(axes, found, x)
        for on in (False, True):
            colour, chosen = (ACCENT, front) if on else (QUIET, ~front)
            axes.vlines(x[chosen], table["ci_low"][chosen], table["ci_high"][chosen], color=colour,
                        linewidth=1.0 if on else 0.7, alpha=0.6 if on else 0.35, zorder=2)  # fmt: skip
            axes.plot(x[chosen], y[chosen], "o", color=colour, markersize=5, zorder=4 if on else 3,
                      markerfacecolor=colour if on else "white")  # fmt: skip
        order = np.flatnonzero(front)  # the table begins at the better end of x
        axes.plot(x[order], y[order], color=ACCENT, linewidth=1.1, drawstyle="steps-post", alpha=0.6, zorder=1)
        _room(axes, x, table, found)
        _labels(axes, x, y, [_label(row, found) for row in table.to_dict("records")], front)
        return save_figure(page.figure, path, small=True)


def _label(row: dict, found: Pareto) -> str:
    text = row[found.of] if found.of == "method" else f"{row['model']}: {row['best_method']}"
    return shorten(text, LONGEST, SIZE)


def _axis(axes, found: Pareto, x: np.ndarray) -> None:
    if not found.x_high:
        least = x[x > 0].min() if (x > 0).any() else 1.0
        axes.set_xscale("log") if (x > 0).all() else axes.set_xscale("symlog", linthresh=least)
        axes.xaxis.set_major_formatter(lambda value, place: f"{value:,.10g}")
    else:
        axes.xaxis.set_major_formatter(lambda value, place: f"{100 * value:.4g}%" if value <= 1 else "")
    axes.set_xlabel(AXES[found.x] + (" (log scale)" if not found.x_high else ""), size=8)
    axes.set_ylabel(f"mean {clean(found.metric)}", size=8, parse_math=False)
    axes.tick_params(labelsize=7.5)
    axes.grid(color="#ececec", linewidth=0.7, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _room(axes, x: np.ndarray, table, found: Pareto) -> None:
    """Limits with room for labels at the right."""
    ends = table[["mean", "ci_low", "ci_high"]]  # a score that never varies has no interval
    low, high = ends.min(axis=None), ends.max(axis=None)
    margin = 0.05 * max(high - low, 1e-9)
    axes.set_ylim(low - margin, high + margin)
    left, right = axes.transData.transform([(x.min(), low), (x.max(), low)])[:, 0]
    if right - left < 1:
        return
    width = axes.get_window_extent().width
    scale = (right - left) / (0.78 * width)  # the points take 78 % of the width
    limits = [(left - 0.04 * width * scale, 0), (right + 0.18 * width * scale, 0)]
    axes.set_xlim(*axes.transData.inverted().transform(limits)[:, 0])


def _labels(axes, x: np.ndarray, y: np.ndarray, names: Sequence[str], front: np.ndarray) -> None:
    """Names beside their points, each at the nearest place where it covers no other name and no point."""
    dpi = axes.figure.dpi
    points = axes.transData.transform(np.column_stack([x, y])) / dpi  # inches
    taken = [(px - 0.05, py - 0.045, px + 0.05, py + 0.045) for px, py in points]
    on = [points[number] for number in np.flatnonzero(front)]  # names do not cover the steps either
    for a, b in itertools.pairwise(on):  # a step is level from a to the x of b, then upright
        taken.append((min(a[0], b[0]) + 0.06, a[1] - 0.02, max(a[0], b[0]), a[1] + 0.02))
        taken.append((b[0] - 0.02, min(a[1], b[1]), b[0] + 0.02, max(a[1], b[1])))
    frame = axes.get_window_extent()
    left, right, top = frame.x0 / dpi, frame.x1 / dpi + 0.1, frame.y1 / dpi
    for number in sorted(range(len(names)), key=lambda i: (not front[i], -points[i][1])):
        px, py = points[number]
        width = text_width(names[number], SIZE)
        for dx, dy in _places(width):
            box = (px + dx, py + dy - LINE / 2, px + dx + width, py + dy + LINE / 2)
            inside = box[0] > left + 0.04 and box[2] < right and box[3] < top and box[1] > frame.y0 / dpi
            if inside and not any(_meet(box, other) for other in taken):
                break
        else:
            continue  # no room: the table has it
        taken.append(box)
        at = (box[0] * dpi, (box[1] + LINE / 2) * dpi)
        spot = axes.transData.inverted().transform(at)
        colour = INK if front[number] else SOFT
        axes.text(*spot, names[number], size=SIZE, color=colour, va="center", ha="left", parse_math=False, zorder=5)
        if abs(dy) > 0.09:
            near = (box[0] if dx > 0 else box[2]) * dpi, at[1]
            line = axes.transData.inverted().transform([(px * dpi, py * dpi), near])
            axes.plot(*line.T, color=QUIET, linewidth=0.5, zorder=2)


def _places(width: float) -> Iterator[tuple[float, float]]:
    """Where a label may be, from its point in inches, the nearest first: right or left of it, and up or down."""
    yield from ((side, up * 0.065) for up in (0, 1, -1) for side in (0.08, -0.08 - width))
    for step in range(2, 26):
        for up in (step, -step):
            yield from ((side, up * 0.065) for side in (0.16, -0.16 - width))


def _meet(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
