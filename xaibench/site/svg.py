"""Drawings of intervals as SVG inside a page: their colours are those of the page, their texts can be read.

Widths are those of a phone, so that texts keep their size; a wider screen shows several drawings side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from xaibench.printing import clean
from xaibench.report.heatmap import number

BAR, HEIGHT = 150, 18  # pixels of a bar in a table
PANEL, NAMES, LINE = 340, 132, 19  # of a panel: its width, that of the names, the height of a line
LETTERS, LAST = 19, 7  # of a name in a drawing, and of these the last ones, which often tell names apart


@dataclass(frozen=True)
class Axis:
    """From values in [low, high] to pixels between two margins; ticks are round values inside."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float], start: float, end: float, ticks: int = 3) -> Axis:
        """The axis from the least to the greatest finite value, a little wider; [0, 1] where there is none."""
        from matplotlib.ticker import MaxNLocator

        finite = np.asarray([value for value in values if np.isfinite(value)], dtype=np.float64)
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        margin = (high - low) * 0.03 or abs(high) * 0.1 or 1.0
        low, high = low - margin, high + margin
        found = MaxNLocator(ticks, steps=[1, 2, 5, 10]).tick_values(low, high)
        return cls(low, high, start, end, tuple(float(t) for t in found if low <= t <= high))

    def x(self, value: float) -> float:
        """The pixel of a value, to a tenth."""
        share = min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)
        return round(self.start + share * (self.end - self.start), 1)


@dataclass(frozen=True)
class Item:
    """A line of a panel: a name with its link, an interval and a mean, a style (`lead`, `rest` or `quiet`), and a short
    text on the right."""

    name: str
    mean: float
    low: float
    high: float
    style: str = "rest"
    link: str = ""
    text: str = ""


def bar(axis: Axis, low: float, mean: float, high: float, style: str) -> Markup:
    """An interval with its mean, for a cell of a table whose other cells say the numbers; "" without a mean."""
    if not np.isfinite(mean):
        return Markup("")
    parts = [f'<svg class="bar {style}" width="{BAR}" height="{HEIGHT}" viewBox="0 0 {BAR} {HEIGHT}"',
             ' aria-hidden="true" focusable="false">']  # fmt: skip
    if axis.low < 0 < axis.high:
        parts.append(f'<path class="zero" d="M{axis.x(0)} 0V{HEIGHT}"/>')
    if np.isfinite(low) and np.isfinite(high):
        parts.append(f'<path class="range" d="M{axis.x(low)} {HEIGHT / 2:g}H{axis.x(high)}"/>')
    return Markup("".join([*parts, f'<circle cx="{axis.x(mean)}" cy="{HEIGHT / 2:g}" r="3.5"/></svg>']))


def scale(axis: Axis) -> Markup:
    """The ticks of an axis, for the head of a column of bars."""
    marks = [Markup('<text x="{}" y="11">{}</text>').format(axis.x(t), number(t)) for t in axis.ticks]
    return Markup(
        '<svg class="ticks" width="{}" height="14" viewBox="0 0 {} 14" aria-hidden="true" focusable="false">{}</svg>'
    ).format(BAR, BAR, Markup("").join(marks))


def panel(items: Sequence[Item], axis: Axis, title: str) -> Markup:
    """Intervals below each other with their names, over one axis; title: what a screen reader says of it."""
    height = LINE * len(items) + 22
    base = height - 20
    parts = [Markup('<path class="grid" d="M{} 0V{}"/>').format(axis.x(t), base) for t in axis.ticks]
    for place, item in enumerate(items):
        parts.append(_line(item, axis, round(LINE * (place + 0.5), 1)))
    parts += [Markup('<text class="tick" x="{}" y="{}">{}</text>').format(axis.x(t), base + 14, number(t))
              for t in axis.ticks]  # fmt: skip
    return drawing(PANEL, height, title, parts, "panel")


def _line(item: Item, axis: Axis, y: float) -> Markup:
    name = clean(item.name)
    short = short_name(item.name)
    text = Markup('<text class="name" x="{}" y="{}">{}<title>{}</title></text>').format(NAMES - 10, y + 4, short, name)
    if item.link:
        text = Markup('<a href="{}">{}</a>').format(item.link, text)
    parts = [text]
    if np.isfinite(item.low) and np.isfinite(item.high):
        parts.append(Markup('<path class="range" d="M{} {}H{}"/>').format(axis.x(item.low), y, axis.x(item.high)))
    if np.isfinite(item.mean):
        parts.append(Markup('<circle cx="{}" cy="{}" r="3.5"/>').format(axis.x(item.mean), y))
    if item.text:
        parts.append(Markup('<text class="value" x="{}" y="{}">{}</text>').format(PANEL - 1, y + 4, item.text))
    return Markup('<g class="{}">{}</g>').format(item.style, Markup("").join(parts))


def short_name(name: str) -> str:
    """A name of at most `LETTERS` letters; a longer one has `…` in the place of its middle."""
    name = clean(name)
    return name if len(name) <= LETTERS else f"{name[: LETTERS - LAST - 1]}…{name[-LAST:]}"


def panel_axis(values: Iterable[float], texts: bool = False) -> Axis:
    """The axis of a panel; texts: whether lines have a short text on the right."""
    return Axis.of(values, NAMES, PANEL - (46 if texts else 8))


def drawing(width: float, height: float, title: str, parts: Sequence[Markup], style: str) -> Markup:
    """A drawing with a title that a screen reader says."""
    # role "group" where links are inside: an image would hide them from the keyboard's reader
    role = "group" if any("<a " in part for part in parts) else "img"
    return Markup(
        '<svg class="{}" viewBox="0 0 {} {}" width="{}" height="{}" role="{}" aria-label="{}">{}</svg>'
    ).format(style, width, height, width, height, role, clean(title), Markup("").join(parts))
