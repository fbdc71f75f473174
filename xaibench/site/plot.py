"""Points over two axes as SVG inside a page, each with its name, of which none covers another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup

from xaibench.printing import clean
from xaibench.report.heatmap import number
from xaibench.site.svg import Axis, drawing, short_name

TURN = 0.62  # the share of the width from which names stand on the left of their points
NAME, LETTER = 13, 6.4  # pixels: the height of a name, the width of a letter


@dataclass(frozen=True)
class Point:
    """A point of a plot with its interval along y, name, link and style; one that is not named is a small dot."""

    name: str
    x: float
    y: float
    low: float = float("nan")
    high: float = float("nan")
    style: str = "rest"
    link: str = ""
    named: bool = True


def plot(points: Sequence[Point], names: tuple[str, str], title: str, logarithmic: bool = False) -> Markup:
    """Points over two axes with these names, each named beside it; logarithmic: the axis of x, whose values are > 0."""
    side, left, bottom = 340, 44, 40
    if logarithmic:
        points = [replace(point, x=float(np.log10(point.x))) for point in points]
    across = Axis.of([p.x for p in points], left, side - 14)
    ticks = [t for t in across.ticks if not logarithmic or t == round(t)] or [round(across.low, 2)]
    up = Axis.of([v for p in points for v in (p.low, p.y, p.high)], side - bottom, 12)
    parts = [Markup('<path class="grid" d="M{} 8V{}"/><text class="tick" x="{}" y="{}">{}</text>').format(
        across.x(t), side - bottom, across.x(t), side - bottom + 15, number(10**t if logarithmic else t))
        for t in ticks]  # fmt: skip
    parts += [Markup('<path class="grid" d="M{} {}H{}"/><text class="left" x="{}" y="{}">{}</text>').format(
        left, up.x(t), side - 4, left - 6, up.x(t) + 4, number(t)) for t in up.ticks]  # fmt: skip
    parts.append(Markup('<text class="axis" x="{}" y="{}">{}</text>').format((left + side) / 2, side - 6, names[0]))
    parts.append(Markup('<text class="axis" transform="translate(11 {}) rotate(-90)">{}</text>').format(
        (side - bottom) / 2, names[1]))  # fmt: skip
    parts += [_dot(point, across, up) for point in points if not point.named]
    named = [point for point in points if point.named]
    names_of = [_Name.of(point, across, up, side) for point in named]
    heights = _apart(names_of)
    parts += [_point(*each, up) for each in zip(named, names_of, heights, strict=True)]
    return drawing(side, max(side, max(heights, default=0) + NAME), title, parts, "plot")


@dataclass(frozen=True)
class _Name:
    """The name of a point: where the point is, whether it stands on its left, and the pixels from start to end."""

    x: float
    y: float
    left: bool
    start: float
    end: float

    @classmethod
    def of(cls, point: Point, across: Axis, up: Axis, side: int) -> _Name:
        x, width = across.x(point.x), LETTER * len(short_name(point.name))
        left = x > side * TURN
        return cls(x, up.x(point.y), left, x - 7 - width if left else x + 7, x - 7 if left else x + 7 + width)


def _apart(names: Sequence[_Name]) -> list[float]:
    """The heights of names, each moved down to where it covers no other."""
    placed: dict[int, float] = {}
    for place, name in sorted(enumerate(names), key=lambda item: (item[1].y, item[0])):
        near = sorted(placed[i] for i in placed if names[i].start < name.end and name.start < names[i].end)
        height = name.y
        for other in near:
            if abs(height - other) < NAME:
                height = other + NAME
        placed[place] = height
    return [placed[place] for place in range(len(names))]


def _dot(point: Point, across: Axis, up: Axis) -> Markup:
    return Markup('<g class="{}"><circle class="dot" cx="{}" cy="{}" r="2.5"><title>{}</title></circle></g>').format(
        point.style, across.x(point.x), up.x(point.y), clean(point.name))  # fmt: skip


def _point(point: Point, name: _Name, height: float, up: Axis) -> Markup:
    x = name.x
    beside = round(x + (-7 if name.left else 7), 1)
    short = short_name(point.name)
    whole = Markup("<title>{}</title>").format(clean(point.name)) if short != clean(point.name) else ""
    text = Markup('<text class="{}" x="{}" y="{}">{}{}</text>').format(
        "left" if name.left else "right", beside, round(height + 4, 1), short, whole
    )
    if height - name.y > NAME / 2:  # moved away: a line leads from the point to its name
        text = Markup('<path class="lead-line" d="M{} {}L{} {}"/>{}').format(x, name.y, beside, round(height, 1), text)
    if point.link:
        text = Markup('<a href="{}">{}</a>').format(point.link, text)
    ends = ""
    if np.isfinite(point.low) and np.isfinite(point.high):
        ends = Markup('<path class="range" d="M{} {}V{}"/>').format(x, up.x(point.low), up.x(point.high))
    return Markup('<g class="{}">{}<circle cx="{}" cy="{}" r="4"/>{}</g>').format(point.style, ends, x, name.y, text)
