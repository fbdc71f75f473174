"""What a scene is made of, in units of the image and so for every size, and what the rules of class decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xaibench.datasets.critters import anatomy
from xaibench.datasets.critters.anatomy import Layer
from xaibench.datasets.critters.dice import Dice
from xaibench.datasets.critters.texture import KINDS, Colour

CLASSES = ("blimbo", "quorra", "tavik", "snorfle", "mippet", "zundar", "fennok", "lorvu", "pellimo", "wozzle")
PARTS = ("body", "head", "beak", "wings", "tail", "eyes")
INFORMATIVE = ("body", "wings", "tail", "beak")
RULES = ("redundant", "one:body", "one:beak", "one:wings", "one:tail", "conjunction", "background")
BACKGROUNDS = tuple(KINDS)

Box = tuple[float, float, float, float]

COLOURS: dict[str, Colour] = {
    "red": (222, 48, 52), "orange": (246, 134, 34), "yellow": (252, 212, 52), "pink": (248, 130, 178),
    "maroon": (146, 36, 72), "lime": (158, 220, 58), "green": (30, 140, 74), "teal": (32, 188, 178),
    "blue": (48, 92, 220), "violet": (138, 70, 196),
}  # fmt: skip

# Part: its ten variants, each one of five shapes in a typical colour. A variant's number is its class.
# Two classes share at most two shapes and never a part's colour, and no class has one colour twice.
VARIANTS: dict[str, tuple[tuple[int, str], ...]] = {
    "body": ((0, "red"), (0, "blue"), (1, "yellow"), (1, "violet"), (2, "orange"), (2, "teal"), (3, "pink"),
             (3, "green"), (4, "lime"), (4, "maroon")),
    "wings": ((0, "yellow"), (1, "orange"), (2, "blue"), (3, "lime"), (4, "violet"), (0, "pink"), (1, "green"),
              (2, "red"), (3, "maroon"), (4, "teal")),
    "tail": ((0, "teal"), (1, "lime"), (2, "maroon"), (3, "orange"), (4, "green"), (4, "red"), (3, "blue"),
             (2, "yellow"), (1, "violet"), (0, "pink")),
    "beak": ((0, "violet"), (1, "yellow"), (2, "green"), (0, "teal"), (3, "pink"), (2, "maroon"), (4, "orange"),
             (1, "blue"), (3, "red"), (4, "lime")),
}  # fmt: skip
CONJUNCTION_TAILS = (0, 2)


@dataclass(frozen=True)
class Place:
    """Where a thing is: a point p of its own coordinates is shown at (x, y) + scale * turned(flipped(p)).

    turn in 256ths of a turn, flip -1 or 1, the rest in units of the image; box: x0, y0, x1, y1 of all parts.
    """

    turn: int
    flip: int
    scale: float
    x: float
    y: float
    box: Box


@dataclass(frozen=True)
class Thing:
    """A creature or a distractor, and where it is.

    label: the class of a creature, -1 for a distractor. looks: for each informative part of a creature its shape and
    the name of its colour. dropped: the parts that are left out.
    """

    kind: str
    layers: tuple[Layer, ...]
    place: Place
    label: int = -1
    looks: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scene:
    """Everything about an image but its size. creatures[0] is the labelled one and is painted last."""

    label: int
    background: str
    key: int
    tint: Colour
    creatures: tuple[Thing, ...]
    distractors: tuple[Thing, ...]


def part_looks(dice: Dice, label: int, rule: str) -> dict[str, tuple[int, str]]:
    """The (shape, colour name) of each informative part of a creature of a class."""
    looks = {}
    for part in INFORMATIVE:
        informative = rule in ("redundant", f"one:{part}")
        variant = dice.below(10)
        looks[part] = VARIANTS[part][label if informative else variant]
    names = tuple(COLOURS)
    wing_colour, tail_colour = dice.pick(names), dice.pick(names)
    if rule == "conjunction":
        looks["wings"] = label // 2, wing_colour
        looks["tail"] = CONJUNCTION_TAILS[label % 2], tail_colour
    return looks


def creature_layers(dice: Dice, looks: dict[str, tuple[int, str]]) -> tuple[Layer, ...]:
    """The layers of a creature, back to front, with noise in colours and in the angles of wings and tail."""
    paint = {part: noisy(dice, COLOURS[name], 13) for part, (_, name) in looks.items()}
    shape = {part: number for part, (number, _) in looks.items()}
    wing, tail = anatomy.wing(shape["wings"], paint["wings"]), anatomy.tail(shape["tail"], paint["tail"])
    raised, swing = dice.below(11) - 5, dice.below(15) - 7
    far = anatomy.blend(paint["wings"], anatomy.INK, 18)
    return (
        tail.turned(swing, (-0.34, 0.12)),
        anatomy.wing(shape["wings"], far).turned(raised + 22, (-0.05, -0.08)),
        anatomy.feet(),
        anatomy.body(shape["body"], paint["body"]),
        anatomy.head(paint["body"]),
        wing.turned(raised, (-0.05, -0.08)),
        anatomy.beak(shape["beak"], paint["beak"]),
        *anatomy.eyes(),
    )


def noisy(dice: Dice, colour: Colour, noise: int) -> Colour:
    """A colour with independent noise in each channel and in its brightness."""
    glow = dice.below(2 * noise + 1) - noise
    return tuple(min(255, max(0, c + glow + dice.below(2 * noise + 1) - noise)) for c in colour)
