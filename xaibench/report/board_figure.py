"""The picture of a leaderboard: one dot with its 95 % interval per method, or per method and group, fit for a paper."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xaibench.errors import XaibenchError
from xaibench.printing import clean
from xaibench.report.inputs import Board, Breakdown
from xaibench.report.style import ACCENT, COLOURS, INK, QUIET, SOFT, STYLE, WIDTH, figure_kind, save_figure, text_width
from xaibench.report.text import UNRANKED_KINDS, count, direction, share

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.235  # inches per method
STEP = 0.11  # inches per group of a method
GROUP_COLOURS = (INK, *COLOURS)  # of `all` and the groups


def board_figure(board: Board, path: str | Path) -> Path:
    """Draw a leaderboard to a .png or .svg file, whose path is returned.

    Methods stand best first, each with its mean and 95 % interval over images, and on the right with the letters of its
    groups; controls, oracles and methods without a rank are hollow and grey. Methods without a stored image are left
    out.

    Raises XaibenchError for another suffix, a board without any stored score, or a file that cannot be written.
    """
    import matplotlib

    path = Path(path)
    figure_kind(path, ("png", "svg"))
    table = board.table[board.table["mean"].notna()].reset_index(drop=True)
    if table.empty:
        raise XaibenchError(f"nothing to draw: no score is stored for {board.title}")
    with matplotlib.rc_context(STYLE):
        labels = [_label(row) for row in table.to_dict("records")]
        groups = [_short(text, 12) for text in table["group"]] if table["rank"].notna().sum() > 1 else []
        figure, axes = _framed(board.title, _subtitle(board), ROW * len(table), labels, groups=groups)
        _dots(axes, table, labels)
        for height, text in enumerate(reversed(groups)):
            axes.annotate(text, (1, height), xytext=(6, 0), xycoords=("axes fraction", "data"), va="center", size=8,
                          textcoords="offset points", color=SOFT, parse_math=False)  # fmt: skip
        axes.set_xlabel(f"{clean(board.metric)} ({direction(board)})", parse_math=False)
        return save_figure(figure, path)


def breakdown_figure(found: Breakdown, path: str | Path) -> Path:
    """Draw a breakdown to a .png or .svg file, whose path is returned.

    Methods stand in the board's order, each with a dot and 95 % interval over images per group; names of controls and
    oracles are grey. Groups and methods without a stored image are left out.

    Raises XaibenchError for another suffix, more groups than there are colours, or nothing to draw.
    """
    import matplotlib

    path = Path(path)
    figure_kind(path, ("png", "svg"))
    table = found.table[found.table["mean"].notna()]
    groups = [group for group in found.groups.to_dict("records") if group["group"] in set(table["group"])]
    if len(groups) > len(GROUP_COLOURS):
        raise XaibenchError(
            f"a figure has room for {len(GROUP_COLOURS) - 1} groups, not {len(groups) - 1}; choose some by --class"
        )
    if table.empty:
        raise XaibenchError(f"nothing to draw: no score is stored for {found.board.title}")
    rows = table.drop_duplicates("method").assign(coverage=1.0)
    names, tall = rows["method"].tolist(), STEP * (len(groups) + 1)
    with matplotlib.rc_context(STYLE):
        labels = [_label(row) for row in rows.to_dict("records")]
        parts = ["mean and 95 % interval over images, this fixed model"]
        parts += ["each explained class counts once"] if groups[0]["n_pairs"] > groups[0]["n_images"] else []
        legend = [f"{_short(group['group'], 28)} (n = {group['n_images']})" for group in groups]
        figure, axes = _framed(found.title, " · ".join(parts), tall * len(names), labels, legend)
        for number, group in enumerate(groups):
            own = table[table["group"] == group["group"]]
            centre = np.array([len(names) - 1 - names.index(name) for name in own["method"]], dtype=float)
            height = centre + ((len(groups) - 1) / 2 - number) / (len(groups) + 1)
            axes.hlines(height, own["ci_low"], own["ci_high"], color=GROUP_COLOURS[number], linewidth=1.2, zorder=2)
            axes.plot(own["mean"], height, "o", color=GROUP_COLOURS[number], markersize=4, zorder=3)
        _axis(axes, labels, (~rows["kind"].isin(UNRANKED_KINDS)).to_numpy(), table)
        axes.set_xlabel(f"{clean(found.board.metric)} ({direction(found.board)})", parse_math=False)
        return save_figure(figure, path)


def _framed(
    title: str, subtitle: str, tall: float, labels: list[str], legend: Sequence[str] = (), groups: Sequence[str] = ()
) -> tuple[Figure, Axes]:
    """A figure with title, subtitle and legend, and axes of `tall` inches with room for labels on their left, and for
    groups on their right."""
    from matplotlib.figure import Figure

    # A hard space keeps the dot at the end of a line, never at the beginning of the next.
    top = textwrap.wrap(clean(title).replace(" · ", "\u00a0· "), 82)
    below = textwrap.wrap(subtitle.replace(" · ", "\u00a0· "), 96)
    places, lines = _legend_places(legend)
    heading = 0.19 * len(top) + 0.165 * len(below) + 0.2 * lines + 0.22
    height = heading + tall + 0.62
    figure = Figure(figsize=(WIDTH, height), facecolor="white")
    left = 0.05 + 0.077 * max(map(len, labels)) / WIDTH
    right = 0.975 - (max((text_width(text, 8) for text in groups), default=-0.1) + 0.1) / WIDTH
    axes = figure.add_axes((left, 0.5 / height, right - left, tall / height))
    figure.text(0.02, 1 - 0.12 / height, "\n".join(top), va="top", weight="bold", linespacing=1.35, parse_math=False)
    figure.text(0.02, 1 - (0.19 + 0.19 * len(top)) / height, "\n".join(below), va="top", size=8, color=SOFT,
                linespacing=1.35, parse_math=False)  # fmt: skip
    start = 0.26 + 0.19 * len(top) + 0.165 * len(below)
    for (x, line), entry, colour in zip(places, legend, GROUP_COLOURS, strict=False):
        figure.text(x / WIDTH, 1 - (start + 0.2 * line) / height, f"\u25cf {entry}", va="top", size=8, color=colour,
                    parse_math=False)  # fmt: skip
    return figure, axes


def _legend_places(entries: Sequence[str]) -> tuple[list[tuple[float, int]], int]:
    """Where each entry of a legend stands, (inches from the left, line), and the number of lines."""
    places, x, line = [], 0.02 * WIDTH, 0
    for entry in entries:
        wide = text_width(f"\u25cf {entry}", 8) + 0.16
        if x + wide > 0.98 * WIDTH and places:
            x, line = 0.02 * WIDTH, line + 1
        places.append((x, line))
        x += wide
    return places, line + 1 if entries else 0


def _subtitle(board: Board) -> str:
    parts = [f"n = {count(board.n_list - board.n_reference, 'image')}"]
    if board.accuracy and board.accuracy.get("images"):
        parts.append(f"accuracy {board.accuracy['correct'] / board.accuracy['images']:.1%}")
    parts.append("mean and 95 % interval over images, this fixed model")
    if board.table["rank"].notna().sum() > 1:
        parts.append("methods that share a letter cannot be told apart")
    if board.table["rank"].isna().any():
        parts.append("hollow: not ranked")
    return " · ".join(parts)


def _dots(axes: Axes, table: pd.DataFrame, names: list[str]) -> None:
    height = np.arange(len(table))[::-1]
    mean, low, high = (table[name].to_numpy(float) for name in ("mean", "ci_low", "ci_high"))
    ranked = table["rank"].notna().to_numpy()
    for quiet in (False, True):
        rows = ranked ^ quiet
        colour = QUIET if quiet else ACCENT
        axes.hlines(height[rows], low[rows], high[rows], color=colour, linewidth=1.0 if quiet else 1.6, zorder=2)
        axes.plot(mean[rows], height[rows], "o", color=colour, markersize=5 if quiet else 5.5, markeredgewidth=1.1,
                  markerfacecolor="white" if quiet else colour, zorder=3)  # fmt: skip
    _axis(axes, names, ranked, table)


def _axis(axes: Axes, names: list[str], dark: np.ndarray, table: pd.DataFrame) -> None:
    """Names of methods from top to bottom, grey where not dark, and limits around the intervals of the table."""
    ends = table[["mean", "ci_low", "ci_high"]].to_numpy(float)
    axes.set_yticks(np.arange(len(names))[::-1])
    labels = axes.set_yticklabels(names, parse_math=False)
    for label, good in zip(labels, dark, strict=True):
        label.set_color(INK if good else QUIET)
    axes.set_ylim(-0.6, len(names) - 0.4)
    # A board far from zero shows its differences; the zero line is drawn where it falls inside.
    low, high = np.nanmin(ends), np.nanmax(ends)  # a mean may have no interval
    spread = max(high - low, 1e-9)
    near_zero = low < spread and high > -spread
    limits = (min(low, 0.0), max(high, 0.0)) if near_zero else (low, high)
    margin = 0.04 * max(limits[1] - limits[0], 1e-9)
    axes.set_xlim(limits[0] - margin, limits[1] + margin)
    if near_zero:
        axes.axvline(0, color=SOFT, linewidth=0.8, zorder=1)
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.7, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _label(row: dict) -> str:
    name, kind = clean(row["method"]), clean(row["kind"])
    mark = f" ({kind})" if kind in UNRANKED_KINDS and kind != name else ""
    if row["coverage"] < 1:
        mark = f" ({share(row['coverage'])} of images)"
    return _short(name, 36 - len(mark)) + mark


def _short(name: str, room: int) -> str:
    """A name of at most so many characters."""
    name = clean(name)
    return name if len(name) <= room else f"{name[: room - 1]}…"
