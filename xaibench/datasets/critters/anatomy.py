"""What creatures look like: layers of shapes in a creature's own coordinates.

A creature looks to the right, y grows downwards, and its body is about one unit wide. A layer belongs to one part;
layers are painted in order: tail, far wing, body, head, near wing, beak, eyes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xaibench.datasets.critters.shapes import Ellipse, Lens, Point, Polygon, Shape, Stroke, rotate, stroke_path
from xaibench.datasets.critters.texture import Colour

INK, WHITE, FOOT = (28, 26, 36), (252, 252, 248), (96, 84, 76)


@dataclass(frozen=True)
class Layer:
    """A union of shapes in one colour with a rim in a darker one, and marks on it that are clipped to it."""

    part: str
    shapes: tuple[Shape, ...]
    fill: Colour
    marks: tuple[tuple[tuple[Shape, ...], Colour], ...] = ()

    def turned(self, turn: int, pivot: Point) -> Layer:
        """The same layer turned around a pivot by 256ths of a turn."""
        marks = tuple((tuple(shape.turned(turn, pivot) for shape in shapes), colour) for shapes, colour in self.marks)
        return Layer(self.part, tuple(shape.turned(turn, pivot) for shape in self.shapes), self.fill, marks)


def blend(colour: Colour, other: Colour, percent: int) -> Colour:
    """`percent` of the other colour mixed into a colour."""
    return tuple((c * (100 - percent) + o * percent + 50) // 100 for c, o in zip(colour, other, strict=True))


def _spots(points: Sequence[Point], radius: float) -> tuple[Shape, ...]:
    return tuple(Ellipse(point, radius, radius) for point in points)


def body(shape: int, colour: Colour) -> Layer:
    """Round with a belly, pear with a collar, long with stripes, block with a checked side, drop with spots."""
    light, dark = blend(colour, WHITE, 55), blend(colour, INK, 42)
    if shape == 0:
        return Layer("body", (Ellipse((0, 0), 0.47, 0.45),), colour, (((Ellipse((0.12, 0.16), 0.3, 0.26),), light),))
    if shape == 1:
        pear = (Ellipse((-0.02, 0.1), 0.42, 0.36), Ellipse((0.12, -0.2), 0.28, 0.3))
        return Layer("body", pear, colour, (((Stroke((-0.6, 0.1), (0.6, 0.02), 0.09, 0.09),), light),))
    if shape == 2:
        bars = tuple(Stroke((x, -0.5), (x - 0.06, 0.5), 0.045, 0.045) for x in (-0.36, -0.16, 0.04, 0.24, 0.44))
        return Layer("body", (Ellipse((-0.02, 0.06), 0.58, 0.34),), colour, ((bars, dark),))
    if shape == 3:
        upper = ((-0.48, -0.2), (-0.34, -0.36), (0.34, -0.4), (0.48, -0.26))
        lower = ((0.46, 0.28), (0.32, 0.42), (-0.34, 0.42), (-0.48, 0.28))
        squares = ((-0.42, 0.16), (-0.02, 0.16), (0.38, 0.16), (-0.22, -0.04), (0.18, -0.04))
        checks = tuple(Polygon(((x, y), (x + 0.2, y), (x + 0.2, y + 0.2), (x, y + 0.2))) for x, y in squares)
        return Layer("body", (Polygon(upper + lower),), colour, ((checks, light),))
    drop = (Lens((-0.62, 0.3), (0.5, -0.46), 0.36), Ellipse((0.06, 0.04), 0.4, 0.38))
    places = ((-0.26, 0.2), (0, 0.28), (0.28, 0.2), (0.14, 0.04), (-0.12, 0.06), (0.38, -0.04))
    return Layer("body", drop, colour, ((_spots(places, 0.075), dark),))


def feet() -> Layer:
    """Two neutral legs; they count as body."""
    legs = tuple(Stroke((x, 0.25), (x, 0.54), 0.05, 0.05) for x in (-0.12, 0.16))
    soles = tuple(Stroke((x, 0.55), (x + 0.1, 0.55), 0.055, 0.045) for x in (-0.12, 0.16))
    return Layer("body", legs + soles, FOOT)


def wing(shape: int, colour: Colour) -> Layer:
    """Paddle, bat, feathers, butterfly, dragonfly; rooted at (-0.05, -0.1) and raised up and back."""
    light, dark = blend(colour, WHITE, 50), blend(colour, INK, 40)
    root = (-0.05, -0.08)
    if shape == 0:
        return Layer(
            "wings",
            (Ellipse((-0.24, -0.5), 0.47, 0.24, 42),),
            colour,
            (((Ellipse((-0.28, -0.58), 0.27, 0.12, 42),), light),),
        )
    if shape == 1:
        tips = ((-0.82, -0.42), (-0.66, -0.86), (-0.2, -1.0), (0.1, -0.74))
        webs = tuple(
            Polygon((root, a, b))
            for a, b in (
                (tips[0], (-0.5, -0.62)),
                ((-0.52, -0.5), tips[1]),
                (tips[1], (-0.3, -0.74)),
                ((-0.42, -0.66), tips[2]),
                (tips[2], (0.0, -0.72)),
                ((-0.12, -0.72), tips[3]),
            )
        )
        return Layer("wings", webs, colour, ((tuple(Stroke(root, tip, 0.03, 0.02) for tip in tips), dark),))
    if shape == 2:
        ends = ((-0.86, -0.3), (-0.78, -0.66), (-0.5, -0.94), (-0.12, -1.0))
        feathers = tuple(Lens((0.02, -0.02), end, 0.13) for end in ends)
        return Layer("wings", feathers, colour, ((tuple(Ellipse(end, 0.28, 0.28) for end in ends), light),))
    if shape == 3:
        discs = (
            Ellipse((-0.22, -0.64), 0.35, 0.31, 40),
            Ellipse((-0.44, -0.16), 0.26, 0.21, 20),
            Ellipse(root, 0.2, 0.2),
        )
        return Layer("wings", discs, colour, ((_spots(((-0.26, -0.7),), 0.15) + _spots(((-0.48, -0.16),), 0.1), dark),))
    blades = (Lens((0.06, 0), (-0.46, -1.0), 0.13), Lens((0.1, -0.06), (-0.98, -0.5), 0.12))
    veins = (Stroke(root, (-0.44, -0.96), 0.028, 0.01), Stroke(root, (-0.92, -0.48), 0.028, 0.01))
    return Layer("wings", blades, colour, ((veins, light),))


def tail(shape: int, colour: Colour) -> Layer:
    """Fan, fork, pompon, curl, arrow; rooted at (-0.36, 0.1) and pointing back."""
    light, dark = blend(colour, WHITE, 50), blend(colour, INK, 40)
    root = (-0.34, 0.12)
    if shape == 0:
        spread = (-26, -9, 8, 25)
        feathers = tuple(Lens((-0.28, 0.12), rotate((-1.06, 0.12), turn, root), 0.12) for turn in spread)
        return Layer("tail", feathers, colour, ((_spots([rotate((-0.9, 0.12), t, root) for t in spread], 0.08), dark),))
    if shape == 1:
        prongs = (
            Stroke(root, (-0.64, 0.12), 0.13, 0.1),
            Lens((-0.5, 0.14), (-1.1, -0.22), 0.12),
            Lens((-0.5, 0.1), (-1.1, 0.44), 0.12),
        )
        return Layer("tail", prongs, colour, (((Stroke((-0.55, -0.6), (-0.55, 0.8), 0.06, 0.06),), light),))
    if shape == 2:
        ball = (*stroke_path((root, (-0.56, 0.2), (-0.72, 0.1)), 0.07, 0.06), Ellipse((-0.84, -0.02), 0.24, 0.24))
        return Layer("tail", ball, colour, (((Ellipse((-0.89, -0.09), 0.11, 0.11),), light),))
    if shape == 3:
        line = (
            root,
            (-0.6, 0.22),
            (-0.84, 0.18),
            (-0.98, -0.02),
            (-0.92, -0.24),
            (-0.74, -0.3),
            (-0.64, -0.18),
            (-0.7, -0.06),
        )
        curl = stroke_path(line, 0.12, 0.06)
        return Layer("tail", curl, colour, ((tuple(Ellipse(p, 0.065, 0.065) for p in line[1::2]), light),))
    barbs = (
        Polygon(((-1.14, 0.08), (-0.64, -0.26), (-0.7, 0.08))),
        Polygon(((-1.14, 0.08), (-0.7, 0.08), (-0.6, 0.42))),
    )
    arrow = (Stroke(root, (-0.8, 0.08), 0.08, 0.07), *barbs)
    return Layer("tail", arrow, colour, (((Stroke((-1.0, 0.08), (-0.84, 0.08), 0.05, 0.09),), light),))


def beak(shape: int, colour: Colour) -> Layer:
    """Cone, hook, needle, bill, toucan's; rooted at the right of the head, (0.62, -0.36)."""
    light, dark = blend(colour, WHITE, 50), blend(colour, INK, 40)
    if shape == 0:
        cone = Polygon(((0.56, -0.56), (1.02, -0.32), (0.56, -0.14)))
        return Layer("beak", (cone,), colour, (((Stroke((0.5, -0.33), (1.0, -0.32), 0.02, 0.02),), dark),))
    if shape == 1:
        hook = stroke_path(((0.62, -0.4), (0.8, -0.42), (0.9, -0.28), (0.88, -0.06)), 0.17, 0.025)
        return Layer("beak", hook, colour, ((_spots(((0.7, -0.46),), 0.06), light),))
    if shape == 2:
        needle = Polygon(((0.58, -0.45), (1.3, -0.22), (0.58, -0.25)))
        return Layer("beak", (needle,), colour, (((Stroke((0.84, -0.6), (0.84, 0), 0.05, 0.05),), light),))
    if shape == 3:
        bill = (Stroke((0.6, -0.38), (0.94, -0.44), 0.11, 0.14), Stroke((0.6, -0.26), (0.9, -0.18), 0.08, 0.1))
        return Layer("beak", bill, colour, (((Stroke((0.5, -0.3), (1.1, -0.29), 0.025, 0.025),), dark),))
    big = (Lens((0.5, -0.36), (1.16, -0.16), 0.2), Ellipse((0.68, -0.38), 0.18, 0.19))
    return Layer("beak", big, colour, (((Ellipse((1.14, -0.16), 0.22, 0.22),), dark),))


def head(colour: Colour) -> Layer:
    """The same for every class, in the body's colour, with a lighter cheek."""
    return Layer(
        "head",
        (Ellipse((0.42, -0.42), 0.3, 0.29),),
        colour,
        (((Ellipse((0.5, -0.26), 0.16, 0.12),), blend(colour, WHITE, 35)),),
    )


def eyes() -> tuple[Layer, ...]:
    """Two neutral eyes with pupils that look ahead."""
    return tuple(
        Layer(
            "eyes",
            (Ellipse((x, -0.5), r, r * 1.15),),
            WHITE,
            (
                ((Ellipse((x + 0.3 * r, -0.49), 0.56 * r, 0.66 * r),), INK),
                ((Ellipse((x + 0.45 * r, -0.54), 0.2 * r, 0.2 * r),), WHITE),
            ),
        )
        for x, r in ((0.56, 0.1), (0.33, 0.12))
    )
