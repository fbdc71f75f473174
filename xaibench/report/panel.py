"""The picture of an explanation: the image, the model's prediction, and one heat map per method, fit for a paper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from xaibench.errors import XaibenchError
from xaibench.files import write_atomic
from xaibench.report.heatmap import PERCENTILE, STYLES, colour_bar, heatmap, scale_of
from xaibench.report.overlay import outlined
from xaibench.report.style import INK, QUIET, SOFT, STYLE, WIDTH, Page, figure_bytes, figure_kind, shorten, wrap

COLUMNS, LARGEST = 6, 2.1  # tiles side by side; inches
MARGIN, GAP = 0.08, 0.09  # inches
HEAD, BAR, FOOT, LINE = 0.17, 0.055, 0.2, 0.06  # inches: above a tile, its colour bar, below that, between lines
TITLE, SMALL = 7.5, 6.0  # points
BETWEEN = 0.06  # inches between photos, beyond that between lines


class Guess(Protocol):
    """A class of the model, with its probability as text."""

    @property
    def index(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def chance(self) -> str: ...


class Explanation(Protocol):
    """What a panel shows of one image; `xaibench.Explanation` is one.

    image (H, W, 3) uint8; maps: attributions (H, W) by method, tensors or arrays; model and dataset: one line each.
    region (h, w) bool: the places over which a segmentation network is explained, or None.
    """

    @property
    def image_id(self) -> str: ...
    @property
    def image(self) -> np.ndarray: ...
    @property
    def prediction(self) -> Guess: ...
    @property
    def target(self) -> Guess: ...
    @property
    def maps(self) -> Mapping[str, np.ndarray]: ...
    @property
    def model(self) -> str: ...
    @property
    def dataset(self) -> str: ...
    @property
    def region(self) -> np.ndarray | None: ...


def check_figure(path: Path, style: str = "overlay") -> None:
    """Raises XaibenchError where a figure of this style could not be written to a path."""
    figure_kind(path)
    if style not in STYLES:
        raise XaibenchError(f"unknown style {style!r}; it is {' or '.join(STYLES)}")
    if not path.parent.is_dir():
        raise XaibenchError(f"cannot write {path}: there is no folder {path.parent}")


def panel(explanations: Sequence[Explanation], path: Path, *, style: str = "overlay") -> Path:
    """Draws explanations to a .png, .svg or .pdf file, one after the other from top to bottom, and returns the path.

    Each begins with its photo, the predicted class and its probability, and the explained class where that is another;
    then follows a map for each method, with its own colour bar, in as many lines as are needed. style is `overlay` (the
    map over the faint photo) or `map`. Raises XaibenchError for another suffix or style, without any map, and for a
    file that cannot be written.
    """
    check_figure(path, style)
    write_atomic(path, panel_bytes(explanations, figure_kind(path), style))
    return path


def panel_bytes(explanations: Sequence[Explanation], kind: str = "png", style: str = "overlay") -> bytes:
    """What `panel` writes into a file of a kind (png, svg or pdf); raises XaibenchError without any map."""
    import matplotlib
    from matplotlib.figure import Figure

    tiles = 1 + max((len(seen.maps) for seen in explanations), default=0)
    if tiles == 1:
        raise XaibenchError("nothing to draw: there is no map")
    lines = math.ceil(tiles / COLUMNS)
    columns = math.ceil(tiles / lines)
    side = min(LARGEST, (WIDTH - 2 * MARGIN - GAP * (columns - 1)) / columns)
    width = columns * side + GAP * (columns - 1) + 2 * MARGIN
    footer = wrap(_footer(explanations), width - 2 * MARGIN, SMALL)
    blocks = [math.ceil((1 + len(seen.maps)) / columns) * _line_height(side) + BETWEEN for seen in explanations]
    height = MARGIN + sum(blocks) + 0.115 * len(footer) + MARGIN
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), facecolor="white")
        page, top = Page(figure, width, height), height - MARGIN
        for seen, block in zip(explanations, blocks, strict=True):
            _explanation(page, seen, top, side, columns, style)
            top -= block
        for number, line in enumerate(footer):
            page.text(MARGIN, top - 0.115 * number, line, SMALL, SOFT, va="top")
        return figure_bytes(figure, kind, small=True)


def _line_height(side: float) -> float:
    return HEAD + side + BAR + FOOT + LINE


def _explanation(page: Page, seen: Explanation, top: float, side: float, columns: int, style: str) -> None:
    """One photo and its maps, line by line below `top`."""
    for position, name in enumerate([None, *seen.maps]):
        line, column = divmod(position, columns)
        left, head = MARGIN + column * (side + GAP), top - line * _line_height(side)
        bottom = head - HEAD - side
        if name is None:
            image = seen.image if seen.region is None else outlined(seen.image, seen.region)
            page.picture(left, bottom, side, side, image)
            _photo_text(page, seen, left, head, bottom, side)
            continue
        values = np.asarray(seen.maps[name], dtype=np.float64)
        scale = scale_of(values)
        page.picture(left, bottom, side, side, heatmap(values, scale, seen.image if style == "overlay" else None))
        page.text(left, head - 0.12, shorten(name, side, TITLE), TITLE)
        if scale.note:
            page.text(left, bottom - 0.035, scale.note, SMALL, SOFT, va="top", style="italic")
        if not scale.note or (scale.note == "not finite" and np.isfinite(values).any()):
            shift = 0.1 if scale.note else 0.0
            colour_bar(page.axes(left, bottom - 0.03 - BAR - shift, side, BAR), scale, SMALL)


def _photo_text(page: Page, seen: Explanation, left: float, head: float, bottom: float, side: float) -> None:
    """The text around a photo: the prediction above it, the explained class if that is another one, and its name."""
    page.text(left, head - 0.12, _guess(seen.prediction, side, TITLE, "bold"), TITLE, weight="bold")
    lines = []
    if seen.target.index != seen.prediction.index:
        lines.append((f"for {_guess(seen.target, side - 0.2, SMALL)}", INK))
    lines.append((shorten(seen.image_id, side, SMALL), QUIET))
    for number, (text, colour) in enumerate(lines):
        page.text(left, bottom - 0.035 - 0.1 * number, text, SMALL, colour, va="top")


def _guess(guess: Guess, room: float, size: float, weight: str = "normal") -> str:
    return shorten(guess.name, room, size, f" {guess.chance}", weight)


def _footer(explanations: Sequence[Explanation]) -> list[str]:
    seen = explanations[0]
    signed = {scale_of(np.asarray(values)).signed for one in explanations for values in one.maps.values()}
    notes = ["red speaks for the class, blue against it"] if True in signed else []
    notes += ["maps without negative values begin at 0"] if False in signed else []
    return [seen.model, seen.dataset, *notes, f"colours end at the {PERCENTILE:g}th percentile of |map|"]
