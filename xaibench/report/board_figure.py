"""The picture of a leaderboard: one dot with its 95 % interval per method, fit for a paper."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xaibench.errors import XaibenchError
from xaibench.report.board_text import clean, count, share
from xaibench.report.style import ACCENT, INK, QUIET, SOFT, STYLE, WIDTH, figure_kind, save_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from xaibench.analysis.leaderboard import Leaderboard

ROW = 0.235  # inches per method


def board_figure(board: Leaderboard, path: str | Path) -> Path:
    """Draw a leaderboard to a .png or .svg file, whose path is returned.

    Methods stand best first, each with its mean and 95 % interval over images; controls, oracles and methods without
    a rank are hollow and grey. Methods without a stored image are left out.

    Raises XaibenchError for another suffix, a board without any stored score, or a file that cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    path = Path(path)
    figure_kind(path, ("png", "svg"))
    table = board.table[board.table["mean"].notna()].reset_index(drop=True)
    if table.empty:
        raise XaibenchError(f"nothing to draw: no score is stored for {board.title}")
    with matplotlib.rc_context(STYLE):
        # A hard space keeps the dot at the end of a line, never at the beginning of the next.
        title = textwrap.wrap(clean(board.title).replace(" · ", "\u00a0· "), 82)
        subtitle = textwrap.wrap(_subtitle(board).replace(" · ", "\u00a0· "), 96)
        heading = 0.19 * len(title) + 0.165 * len(subtitle) + 0.22
        height = heading + ROW * len(table) + 0.62
        figure = Figure(figsize=(WIDTH, height), facecolor="white")
        labels = [_label(row) for row in table.to_dict("records")]
        left = 0.05 + 0.077 * max(map(len, labels)) / WIDTH
        axes = figure.add_axes((left, 0.5 / height, 0.975 - left, ROW * len(table) / height))
        _dots(axes, table, labels)
        axes.set_xlabel(f"{clean(board.metric)} ({'higher' if board.higher_is_better else 'lower'} is better)",
                        parse_math=False)  # fmt: skip
        figure.text(0.02, 1 - 0.12 / height, "\n".join(title), va="top", weight="bold", linespacing=1.35,
                    parse_math=False)  # fmt: skip
        figure.text(0.02, 1 - (0.19 + 0.19 * len(title)) / height, "\n".join(subtitle), va="top", size=8,
                    color=SOFT, linespacing=1.35, parse_math=False)  # fmt: skip
        return save_figure(figure, path)


def _subtitle(board: Leaderboard) -> str:
    parts = [f"n = {count(board.n_list - board.n_reference, 'image')}"]
    if board.accuracy and board.accuracy.get("images"):
        parts.append(f"accuracy {board.accuracy['correct'] / board.accuracy['images']:.1%}")
    parts.append("mean and 95 % bootstrap interval over images, this fixed model")
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
    axes.set_yticks(height)
    labels = axes.set_yticklabels(names, parse_math=False)
    for label, good in zip(labels, ranked, strict=True):
        label.set_color(INK if good else QUIET)
    axes.set_ylim(-0.6, len(table) - 0.4)
    # A board far from zero shows its differences; the zero line is drawn where it falls inside.
    spread = max(high.max() - low.min(), 1e-9)
    near_zero = low.min() < spread and high.max() > -spread
    limits = (min(low.min(), 0.0), max(high.max(), 0.0)) if near_zero else (low.min(), high.max())
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
    mark = f" ({kind})" if kind in ("control", "oracle") and kind != name else ""
    if row["coverage"] < 1:
        mark = f" ({share(row['coverage'])} of images)"
    room = 36 - len(mark)
    return (name if len(name) <= room else f"{name[: room - 1]}…") + mark
