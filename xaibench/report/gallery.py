"""The picture of a run: its best, typical and worst images, with cells, maps and scores, fit for a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xaibench.errors import XaibenchError
from xaibench.report.heatmap import PERCENTILE, STYLES, Scale, colour_bar, heatmap, scale_of
from xaibench.report.style import INK, QUIET, SOFT, STYLE, WIDTH, Page, figure_kind, save_figure, shorten, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 8  # methods side by side
MARGIN, LABELS, GAP, LARGEST = 0.08, 1.12, 0.06, 1.15  # inches
HEADING, NAMES, SCORE, LINE = 0.24, 0.15, 0.17, 0.105  # inches
TITLE, TEXT, SMALL = 8.5, 7.0, 6.0  # points
WRONG = "#b2182b"


@dataclass(frozen=True)
class Entry:
    """One image of a gallery: image (H, W, 3) uint8; names of its label and of the model's prediction; right says
    whether they agree (None: unknown); maps (H, W) and scores (None: undefined) by method."""

    image: np.ndarray
    label: str
    prediction: str
    right: bool | None
    maps: Mapping[str, np.ndarray]
    scores: Mapping[str, float | None]
    image_id: str = ""


@dataclass(frozen=True)
class Gallery:
    """What is drawn: entries by group (best, typical, worst), methods in the order of their columns, the board's title,
    its metric and whether higher is better, the grid of cells (0: none), and how many images were chosen from."""

    groups: Mapping[str, Sequence[Entry]]
    methods: Sequence[str]
    title: str
    metric: str
    higher_is_better: bool
    grid: int
    total: int


def check_gallery(path: Path, methods: int, style: str = "overlay") -> None:
    """Raises XaibenchError where a gallery could not be drawn to a path: its suffix, its style, too many methods."""
    figure_kind(path)
    if style not in STYLES:
        raise XaibenchError(f"unknown style {style!r}; it is {' or '.join(STYLES)}")
    if methods > MOST:
        raise XaibenchError(f"{methods} methods do not fit side by side; name at most {MOST} by --methods")


def draw_gallery(gallery: Gallery, path: Path, *, style: str = "overlay") -> Path:
    """Draws a gallery to a .png, .svg or .pdf file, whose path is returned.

    One line for each image: its label and the model's prediction, the photo, then the map of each method with its
    score; the protocol's cells are drawn as thin lines. Each map has its own scale, as in `xaibench explain`. Raises
    XaibenchError for another suffix or style, for too many methods, and for a file that cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    check_gallery(path, len(gallery.methods), style)
    columns = 1 + len(gallery.methods)
    side = min(LARGEST, (WIDTH - 2 * MARGIN - LABELS - GAP * columns) / columns)
    room = WIDTH - 2 * MARGIN
    title = wrap(gallery.title.split(" · "), room, TITLE, "bold")
    legend = wrap(_legend(gallery), room - 2.1, SMALL)
    groups = {name: entries for name, entries in gallery.groups.items() if entries}
    lines = sum(map(len, groups.values()))
    foot = max(0.34, 0.115 * len(legend))
    height = MARGIN + 0.17 * len(title) + len(groups) * (HEADING + NAMES) + lines * (side + SCORE) + foot + 2 * MARGIN
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), facecolor="white")
        page, top = Page(figure, WIDTH, height), height - MARGIN
        for line in title:
            page.text(MARGIN, top, line, TITLE, va="top", weight="bold")
            top -= 0.17
        for name, entries in groups.items():
            page.text(MARGIN, top - 0.2, _heading(name, gallery), TEXT, weight="bold")
            top -= HEADING + NAMES
            for column, method in enumerate(gallery.methods, 1):
                page.text(_left(column, side), top + 0.04, shorten(method, side, TEXT), TEXT)
            for entry in entries:
                _entry(page, entry, gallery, top, side, style)
                top -= side + SCORE
        top -= MARGIN
        for line in legend:
            page.text(MARGIN, top, line, SMALL, SOFT, va="top")
            top -= 0.115
        _bars(page, gallery, foot + MARGIN)
        return save_figure(figure, path, small=True)


def _left(column: int, side: float) -> float:
    return MARGIN + LABELS + GAP + column * (side + GAP)


def _heading(name: str, gallery: Gallery) -> str:
    best = "highest" if gallery.higher_is_better else "lowest"
    worst = "lowest" if gallery.higher_is_better else "highest"
    about = {"best": f"{best} mean score", "typical": "around the median", "worst": f"{worst} mean score"}[name]
    return f"{name.capitalize()}: {about} of {gallery.total} images"


def _entry(page: Page, entry: Entry, gallery: Gallery, top: float, side: float, style: str) -> None:
    """One line of the gallery, its upper edge at `top`."""
    _labels(page, entry, top)
    bottom = top - side
    axes = page.picture(_left(0, side), bottom, side, side, entry.image)
    _cells(axes, entry.image, gallery.grid, "white", 0.8)
    for column, method in enumerate(gallery.methods, 1):
        values = entry.maps[method]
        scale = scale_of(values)
        pixels = heatmap(values, scale, entry.image if style == "overlay" else None)
        axes = page.picture(_left(column, side), bottom, side, side, pixels)
        _cells(axes, pixels, gallery.grid, INK, 0.3)
        score = entry.scores[method]
        text = "undefined" if score is None else f"{round(score, 3) + 0.0:.3f}".replace("-", "\u2212")  # no -0.000
        if scale.note:
            text += f" ({scale.note})"
        size, colour = (TEXT, INK) if score is not None else (SMALL, SOFT)
        text = shorten(text, side + GAP, size)
        slant = "normal" if score is not None else "italic"
        middle = _left(column, side) + side / 2
        page.text(middle, bottom - 0.035, text, size, colour, va="top", ha="center", style=slant)


def _labels(page: Page, entry: Entry, top: float) -> None:
    """The label of an image, the model's prediction, and the file's name."""
    page.text(MARGIN, top - 0.015, shorten(entry.label, LABELS, TEXT), TEXT, va="top")
    mark = {True: " \u2713", False: " \u2717", None: ""}[entry.right]
    lines = [
        ("predicted", QUIET),
        (shorten(entry.prediction, LABELS, SMALL, mark), WRONG if mark == " \u2717" else INK),
    ]
    for number, (text, colour) in enumerate(lines):
        page.text(MARGIN, top - 0.19 - LINE * number, text, SMALL, colour, va="top")
    page.text(MARGIN, top - 0.23 - LINE * 2, shorten(Path(entry.image_id).name, LABELS, SMALL - 0.5), SMALL - 0.5,
              QUIET, va="top")  # fmt: skip


def _cells(axes: Axes, pixels: np.ndarray, grid: int, colour: str, alpha: float) -> None:
    """The borders of the cells of a grid, as thin lines over a picture."""
    height, width = pixels.shape[:2]
    for k in range(1, grid):
        axes.axhline(k * height / grid - 0.5, color=colour, alpha=alpha, linewidth=0.35)
        axes.axvline(k * width / grid - 0.5, color=colour, alpha=alpha, linewidth=0.35)


def _legend(gallery: Gallery) -> list[str]:
    better = "higher" if gallery.higher_is_better else "lower"
    return [
        f"numbers: {gallery.metric} ({better} is better)",
        "images are ordered by their mean over the methods shown, the oracle left out",
        f"each map has its own scale, which ends at the {PERCENTILE:g}th percentile of |map|",
    ]


def _bars(page: Page, gallery: Gallery, top: float) -> None:
    """The colours of maps with and without negative values, in the lower right corner."""
    scales = [scale_of(e.maps[m]) for entries in gallery.groups.values() for e in entries for m in gallery.methods]
    kinds = sorted({scale.signed for scale in scales}, reverse=True)
    width = 0.9
    for number, signed in enumerate(kinds):
        left = page.width - MARGIN - (len(kinds) - number) * width - (len(kinds) - number - 1) * 0.1
        axes = page.axes(left, top - 0.085, width, 0.06)
        colour_bar(axes, Scale(1.0, signed, "both" if signed else "max"), SMALL,
                   ["\u2212limit", "0", "limit"] if signed else ["0", "limit"])  # fmt: skip
