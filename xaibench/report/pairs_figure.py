"""The picture of a board's pairs: who beats whom, as a matrix of methods."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xaibench.report.inputs import Pairs
from xaibench.report.style import INK, SOFT, STYLE, WIDTH, Page, figure_kind, save_figure, shorten, text_width, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PALETTE = "RdBu"  # ColorBrewer's, told apart by people with any colour vision; blue: the row's method is better
DARK = 0.33  # from one half on, in the palette's dark ends
LABEL = 7.5  # points
NAMES = 1.9  # inches at most


def pairs_figure(found: Pairs, path: str | Path) -> Path:
    """Draw who beats whom to a .png or .svg file, whose path is returned.

    A square's number and colour are the share of images on which the method of its row scores better than that of its
    column, ties counted half, in per cent; a frame marks methods that are surely better. Raises XaibenchError for
    another suffix, or a file that cannot be written.
    """
    import matplotlib

    path = Path(path)
    figure_kind(path, ("png", "svg"))
    share = found.matrix("superiority").to_numpy(float)
    share = np.where(np.isnan(share), 1 - share.T, share)
    sure = found.matrix("surely_better").eq(True).to_numpy()
    with matplotlib.rc_context(STYLE):
        from matplotlib.figure import Figure

        labels = [shorten(name, NAMES, LABEL) for name in found.methods]
        left = max(text_width(label, LABEL) for label in labels) + 0.2
        side = min(0.42, (WIDTH - left - 0.1) / len(labels))
        images = int(found.table["n_images"].iloc[0])
        said = (f"share of {images} images on which the row's method is better than the column's, in %",
                "framed: surely better, all pairs judged at once")  # fmt: skip
        title = wrap(found.title.split(" · "), WIDTH - 0.2, 9, "bold")
        below = wrap(said, WIDTH - 0.2, 8)
        top = 0.15 + 0.17 * len(title) + 0.16 * len(below)
        height = top + left + side * len(labels) + 0.1
        page = Page(Figure(figsize=(WIDTH, height), facecolor="white"), WIDTH, height)
        for number, line in enumerate(title):
            page.text(0.1, height - 0.1 - 0.17 * number, line, 9, weight="bold", va="top")
        for number, line in enumerate(below):
            page.text(0.1, height - 0.13 - 0.17 * len(title) - 0.16 * number, line, 8, SOFT, va="top")
        axes = page.axes(left, 0.1, side * len(labels), side * len(labels))
        _squares(axes, share, sure, min(7.0, side * 72 * 0.36))
        places = np.arange(len(labels))
        axes.set_xticks(places, labels, rotation=90, size=LABEL, parse_math=False)
        axes.set_yticks(places, labels, size=LABEL, parse_math=False)
        axes.tick_params(length=0, pad=3, top=True, labeltop=True, bottom=False, labelbottom=False)
        return save_figure(page.figure, path)


def _squares(axes: Axes, share: np.ndarray, sure: np.ndarray, size: float) -> None:
    """Fills axes with the squares of a matrix of shares in [0, 1], NaN where nothing is drawn."""
    from matplotlib.patches import Rectangle

    axes.imshow(np.ma.masked_invalid(share), cmap=PALETTE, vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(share.shape):
        value = share[row, column]
        if np.isnan(value):
            continue
        ink = "white" if abs(value - 0.5) > DARK else INK
        axes.text(column, row, f"{100 * value:.0f}", size=size, ha="center", va="center", color=ink)
        if sure[row, column]:
            axes.add_patch(Rectangle((column - 0.43, row - 0.43), 0.86, 0.86, fill=False, linewidth=0.8, color=ink))
    for spine in axes.spines.values():
        spine.set_visible(False)
