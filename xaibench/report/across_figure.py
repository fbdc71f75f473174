"""The picture of a leaderboard across models: a table of methods and models, coloured by the mean score."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np

from xaibench.printing import clean
from xaibench.report.inputs import AcrossModels
from xaibench.report.style import INK, QUIET, SOFT, STYLE, WIDTH, figure_kind, save_figure
from xaibench.report.text import UNRANKED_KINDS, count, share

ROW = 0.2  # inches per method


def across_figure(found: AcrossModels, path: str | Path) -> Path:
    """Draws the means to a .png or .svg file, whose path is returned; the best method of each model is framed.

    Raises XaibenchError for another suffix or a file that cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    path = Path(path)
    figure_kind(path, ("png", "svg"))
    matrix = found.matrix
    values = matrix.to_numpy(float)
    names = [clean(name) for name in matrix.index]
    kinds = found.table.drop_duplicates("method").set_index("method")["kind"]
    with matplotlib.rc_context(STYLE):
        top = textwrap.wrap(clean(found.title).replace(" · ", "\u00a0· "), 82)
        heading = 0.4 + 0.19 * len(top)
        below = 0.062 * max(len(clean(name)) + 8 for name in matrix.columns) + 0.1
        tall = ROW * len(names)
        height = heading + tall + below
        figure = Figure(figsize=(WIDTH, height), facecolor="white")
        figure.text(
            0.02, 1 - 0.12 / height, "\n".join(top), va="top", weight="bold", linespacing=1.35, parse_math=False
        )
        over = f"over {count(found.n_images, 'image')}"
        subtitle = f"mean {clean(found.metric)} {over}; framed: the best ranked method of a model; (accuracy)"
        figure.text(
            0.02, 1 - (0.17 + 0.19 * len(top)) / height, subtitle, va="top", size=7.5, color=SOFT, parse_math=False
        )
        left = 0.05 + 0.07 * max(map(len, names)) / WIDTH
        axes = figure.add_axes((left, below / height, 0.985 - left, tall / height))
        span = np.nanmax(np.abs(values))
        axes.imshow(np.ma.masked_invalid(values), cmap="RdBu", vmin=-span, vmax=span, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                dark = abs(value) > 0.65 * span
                axes.text(column, row, f"{value:.2f}".replace("0.", ".", 1), ha="center", va="center", size=6,
                          color="white" if dark else INK)  # fmt: skip
        best = dict(zip(found.models["model"], found.models["best_method"], strict=True))
        for column, model in enumerate(matrix.columns):
            if best[model] in matrix.index:
                row = list(matrix.index).index(best[model])
                axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=1.2))
        right = dict(zip(found.models["model"], found.models["accuracy"], strict=True))
        axes.set_xticks(range(len(matrix.columns)))
        labels = [clean(m) + (f" ({share(right[m])})" if np.isfinite(right[m]) else "") for m in matrix.columns]
        axes.set_xticklabels(labels, rotation=90, size=7, parse_math=False)
        axes.set_yticks(range(len(names)))
        for label, name in zip(axes.set_yticklabels(names, size=7.5, parse_math=False), matrix.index, strict=True):
            label.set_color(QUIET if kinds[name] in UNRANKED_KINDS else INK)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return save_figure(figure, path, small=True)
