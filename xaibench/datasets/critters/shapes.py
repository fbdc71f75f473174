"""Plane shapes as depth functions: positive inside, zero on the border, in the units of the shape's own coordinates.

Only +, -, *, / and square roots occur, which IEEE arithmetic rounds the same everywhere; angles come as multiples of a
256th of a turn, with sines and cosines on a fixed-point grid, so that last-bit differences between machines vanish.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Point = tuple[float, float]
_COSINES = tuple(round(math.cos(2 * math.pi * k / 256) * 65536) / 65536 for k in range(256))


def direction(turn: int) -> Point:
    """(cosine, sine) of an angle given in 256ths of a turn."""
    return _COSINES[turn % 256], _COSINES[(turn - 64) % 256]


def rotate(point: Point, turn: int, pivot: Point = (0.0, 0.0)) -> Point:
    """A point turned around a pivot by `turn` 256ths (clockwise on the screen, where y grows downwards)."""
    c, s = direction(turn)
    x, y = point[0] - pivot[0], point[1] - pivot[1]
    return pivot[0] + c * x - s * y, pivot[1] + s * x + c * y


class Shape(Protocol):
    """What every shape can do."""

    def depth(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """How deep the points (u, v) lie inside: float64 of their shape, negative outside."""

    def reach(self, x: float, y: float) -> float:
        """The largest x * u + y * v over the shape (its support function)."""

    def turned(self, turn: int, pivot: Point) -> Shape:
        """The same shape turned around a pivot."""


@dataclass(frozen=True)
class Ellipse:
    """An ellipse with half axes a and b, the first turned by `turn`."""

    centre: Point
    a: float
    b: float
    turn: int = 0

    def depth(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        c, s = direction(self.turn)
        du, dv = u - self.centre[0], v - self.centre[1]
        if self.a == self.b:
            return self.a - np.sqrt(du * du + dv * dv)
        along, across = (du * c + dv * s) / self.a, (dv * c - du * s) / self.b
        return min(self.a, self.b) * (1 - np.sqrt(along * along + across * across))

    def reach(self, x: float, y: float) -> float:
        c, s = direction(self.turn)
        along, across = self.a * (x * c + y * s), self.b * (y * c - x * s)
        return x * self.centre[0] + y * self.centre[1] + math.sqrt(along * along + across * across)

    def turned(self, turn: int, pivot: Point) -> Ellipse:
        return Ellipse(rotate(self.centre, turn, pivot), self.a, self.b, self.turn + turn)


@dataclass(frozen=True)
class Ring:
    """A circular band of half width `half` around a circle of the given radius."""

    centre: Point
    radius: float
    half: float

    def depth(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        du, dv = u - self.centre[0], v - self.centre[1]
        return self.half - np.abs(np.sqrt(du * du + dv * dv) - self.radius)

    def reach(self, x: float, y: float) -> float:
        outer = self.radius + self.half
        return x * self.centre[0] + y * self.centre[1] + outer * math.sqrt(x * x + y * y)

    def turned(self, turn: int, pivot: Point) -> Ring:
        return Ring(rotate(self.centre, turn, pivot), self.radius, self.half)


@dataclass(frozen=True)
class Polygon:
    """A convex polygon; corners clockwise on the screen."""

    corners: tuple[Point, ...]

    def depth(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        depth = None
        for (x0, y0), (x1, y1) in zip(self.corners, self.corners[1:] + self.corners[:1], strict=True):
            length = math.sqrt((x1 - x0) * (x1 - x0) + (y1 - y0) * (y1 - y0))
            nx, ny = (y0 - y1) / length, (x1 - x0) / length
            edge = u * nx + v * ny - (x0 * nx + y0 * ny)
            depth = edge if depth is None else np.minimum(depth, edge, out=depth)
        return depth

    def reach(self, x: float, y: float) -> float:
        return max(x * cx + y * cy for cx, cy in self.corners)

    def turned(self, turn: int, pivot: Point) -> Polygon:
        return Polygon(tuple(rotate(corner, turn, pivot) for corner in self.corners))


@dataclass(frozen=True)
class Lens:
    """A leaf from `tip` to `end`, the intersection of two discs; `half` is half of its greatest width."""

    tip: Point
    end: Point
    half: float

    def _discs(self) -> tuple[float, Point, Point]:
        """The common radius and the two centres."""
        dx, dy = (self.end[0] - self.tip[0]) / 2, (self.end[1] - self.tip[1]) / 2
        chord = math.sqrt(dx * dx + dy * dy)
        radius = (chord * chord + self.half * self.half) / (2 * self.half)
        k = (radius - self.half) / chord
        x, y = self.tip[0] + dx, self.tip[1] + dy
        return radius, (x - dy * k, y + dx * k), (x + dy * k, y - dx * k)

    def depth(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        radius, (x0, y0), (x1, y1) = self._discs()
        du0, dv0, du1, dv1 = u - x0, v - y0, u - x1, v - y1
        return radius - np.sqrt(np.maximum(du0 * du0 + dv0 * dv0, du1 * du1 + dv1 * dv1))

    def reach(self, x: float, y: float) -> float:
        radius, first, second = self._discs()
        length = math.sqrt(x * x + y * y)
        best = max(x * self.tip[0] + y * self.tip[1], x * self.end[0] + y * self.end[1])
        for centre, other in ((first, second), (second, first)):
            px, py = centre[0] + radius * x / length, centre[1] + radius * y / length
            dx, dy = px - other[0], py - other[1]
            if dx * dx + dy * dy <= radius * radius:
                best = max(best, x * px + y * py)
        return best

    def turned(self, turn: int, pivot: Point) -> Lens:
        return Lens(rotate(self.tip, turn, pivot), rotate(self.end, turn, pivot), self.half)


@dataclass(frozen=True)
class Stroke:
    """A line with round ends from `start` to `end`, its half width going evenly from r0 to r1."""

    start: Point
    end: Point
    r0: float
    r1: float

    def depth(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        dx, dy = self.end[0] - self.start[0], self.end[1] - self.start[1]
        du, dv = u - self.start[0], v - self.start[1]
        t = np.minimum(np.maximum((du * dx + dv * dy) / (dx * dx + dy * dy), 0.0), 1.0)
        du, dv = du - t * dx, dv - t * dy
        return self.r0 + t * (self.r1 - self.r0) - np.sqrt(du * du + dv * dv)

    def reach(self, x: float, y: float) -> float:
        length = math.sqrt(x * x + y * y)
        ends = ((self.start, self.r0), (self.end, self.r1))
        return max(x * px + y * py + r * length for (px, py), r in ends)

    def turned(self, turn: int, pivot: Point) -> Stroke:
        return Stroke(rotate(self.start, turn, pivot), rotate(self.end, turn, pivot), self.r0, self.r1)


def union_depth(shapes: Sequence[Shape], u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The depth in the union of shapes: the largest of theirs (exact border, approximate inside)."""
    depth = shapes[0].depth(u, v)
    for shape in shapes[1:]:
        np.maximum(depth, shape.depth(u, v), out=depth)
    return depth


def reach(shapes: Sequence[Shape], turn: int, flip: int) -> tuple[float, float, float, float]:
    """The box x0, y0, x1, y1 around shapes that are flipped (-1: mirrored left to right) and then turned."""
    c, s = direction(turn)
    return (
        -max(shape.reach(-c * flip, s) for shape in shapes),
        -max(shape.reach(-s * flip, -c) for shape in shapes),
        max(shape.reach(c * flip, -s) for shape in shapes),
        max(shape.reach(s * flip, c) for shape in shapes),
    )


def stroke_path(points: Sequence[Point], r0: float, r1: float) -> tuple[Stroke, ...]:
    """A bent line through points as strokes whose half width goes evenly from r0 to r1."""
    n = len(points) - 1
    widths = [r0 + (r1 - r0) * i / n for i in range(n + 1)]
    return tuple(Stroke(points[i], points[i + 1], widths[i], widths[i + 1]) for i in range(n))
