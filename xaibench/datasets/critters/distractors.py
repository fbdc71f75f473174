"""Distractors: simple things about one unit wide, which are independent of the class."""

from __future__ import annotations

from collections.abc import Callable

from xaibench.datasets.critters.anatomy import INK, WHITE, Layer, blend
from xaibench.datasets.critters.shapes import Ellipse, Lens, Polygon, Ring, Stroke
from xaibench.datasets.critters.texture import Colour


def stone(colour: Colour) -> Layer:
    """A boulder with a lit top."""
    return Layer(
        "",
        (Ellipse((0, 0.05), 0.5, 0.36), Ellipse((-0.12, -0.1), 0.3, 0.28)),
        colour,
        (((Ellipse((-0.1, -0.16), 0.24, 0.14),), blend(colour, WHITE, 30)),),
    )


def crate(colour: Colour) -> Layer:
    """A box with boards."""
    boards = tuple(Stroke((-0.5, y), (0.5, y), 0.025, 0.025) for y in (-0.14, 0.14))
    return Layer(
        "",
        (Polygon(((-0.42, -0.42), (0.42, -0.42), (0.42, 0.42), (-0.42, 0.42))),),
        colour,
        ((boards, blend(colour, INK, 40)),),
    )


def ring(colour: Colour) -> Layer:
    """A hoop, open in the middle."""
    return Layer("", (Ring((0, 0), 0.36, 0.11),), colour)


def leaf(colour: Colour) -> Layer:
    """A leaf with its midrib."""
    rib = Stroke((-0.5, 0.3), (0.5, -0.3), 0.025, 0.02)
    return Layer("", (Lens((-0.5, 0.3), (0.5, -0.3), 0.22),), colour, (((rib,), blend(colour, WHITE, 40)),))


# Kind: how it looks, and its typical colours.
DISTRACTORS: dict[str, tuple[Callable[[Colour], Layer], tuple[Colour, ...]]] = {
    "stone": (stone, ((128, 126, 124), (150, 140, 128), (104, 108, 118))),
    "crate": (crate, ((176, 128, 78), (150, 106, 66), (190, 152, 100))),
    "ring": (ring, ((214, 208, 196), (120, 124, 134), (186, 150, 92))),
    "leaf": (leaf, ((96, 140, 70), (128, 150, 72), (170, 120, 60))),
}
