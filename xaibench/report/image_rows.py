"""Rows of images with a label at the left of each row and a caption below each image."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from xaibench.printing import clean
from xaibench.report.inputs import ImageRow
from xaibench.report.style import SOFT, STYLE, WIDTH, Page, save_figure

LABELS, MARGIN, GAP, CAPTION, LARGEST = 1.1, 0.12, 0.06, 0.16, 1.1  # inches


def image_rows(rows: Sequence[ImageRow], title: str, path: Path, legend: str = "") -> Path:
    """Draws rows of images, all of one size, to a .png, .svg or .pdf file; legend: a text below them."""
    import matplotlib
    from matplotlib.figure import Figure

    count = max(len(row.images) for row in rows)
    side = min(LARGEST, (WIDTH - LABELS - 2 * MARGIN - GAP * (count - 1)) / count)
    lines = textwrap.wrap(clean(title), 88)
    below = textwrap.wrap(clean(legend), 125)
    head, foot = 0.17 * len(lines) + 0.2, 0.11 * len(below)
    height = head + len(rows) * (side + CAPTION + GAP) + MARGIN + foot
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), facecolor="white")
        page = Page(figure, WIDTH, height)
        page.text(MARGIN, height - 0.1, "\n".join(lines), 9, va="top", weight="bold")
        for number, row in enumerate(rows):
            bottom = height - head - (number + 1) * (side + CAPTION + GAP) + CAPTION
            label = textwrap.fill(clean(row.label), 17)
            page.text(MARGIN, bottom + side / 2, label, 7, va="center")
            for place, (image, caption) in enumerate(zip(row.images, row.captions, strict=True)):
                left = MARGIN + LABELS + place * (side + GAP)
                page.picture(left, bottom, side, side, image)
                page.text(left + side / 2, bottom - 0.03, clean(caption), 6, SOFT, va="top", ha="center")
        page.text(MARGIN, foot + MARGIN / 2, "\n".join(below), 6, SOFT, va="top")
        return save_figure(figure, path, small=True)
