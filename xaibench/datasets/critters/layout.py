"""Composes a scene: draws at random what is in it and where.

Each aspect (label, background, company, the looks and the place of each creature, distractors) has dice of its own, so
that an option which changes one of them leaves the others as they were: dropped parts, for instance, change nothing
else, nor does the background's correlation move a creature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from xaibench.datasets.critters.anatomy import Layer
from xaibench.datasets.critters.dice import Dice
from xaibench.datasets.critters.distractors import DISTRACTORS
from xaibench.datasets.critters.scene import (
    BACKGROUNDS,
    CLASSES,
    INFORMATIVE,
    Box,
    Place,
    Scene,
    Thing,
    creature_layers,
    noisy,
    part_looks,
)
from xaibench.datasets.critters.shapes import reach

MARGIN = 0.015


def fit_place(layers: Sequence[Layer], turn: int, flip: int, area: float, at: tuple[float, float]) -> Place:
    """The place whose box has an area, in shares of the image, and lies at the shares `at` of the free room.

    An area that is too large for the image is lowered until the box fits.
    """
    x0, y0, x1, y1 = reach([shape for layer in layers for shape in layer.shapes], turn, flip)
    width, height = x1 - x0, y1 - y0
    room = 1 - 2 * MARGIN
    scale = min(math.sqrt(area / (width * height)), room / max(width, height))
    left = MARGIN + at[0] * (room - scale * width)
    top = MARGIN + at[1] * (room - scale * height)
    box = (left, top, left + scale * width, top + scale * height)
    return Place(turn, flip, scale, left - scale * x0, top - scale * y0, box)


def covered(box: Box, others: Sequence[Box]) -> float:
    """The share of a box that others cover, where they cover one another counted twice."""
    total = 0.0
    for other in others:
        width = min(box[2], other[2]) - max(box[0], other[0])
        height = min(box[3], other[3]) - max(box[1], other[1])
        total += max(width, 0.0) * max(height, 0.0)
    return total / box_area(box)


def box_area(box: Box) -> float:
    """The area of a box, in shares of the image."""
    return (box[2] - box[0]) * (box[3] - box[1])


def draw_place(dice: Dice, layers: Sequence[Layer], area: float) -> Place:
    """A place anywhere in the image, slightly turned and perhaps flipped."""
    return fit_place(layers, dice.below(17) - 8, dice.pick((-1, 1)), area, (dice.unit(), dice.unit()))


def free_place(dice: Dice, layers: Sequence[Layer], area: float, taken: Sequence[Box], limit: float) -> Place | None:
    """The first of 24 ever smaller places of which others cover at most a share; None if there is none."""
    for _ in range(24):
        place = draw_place(dice, layers, area)
        if covered(place.box, taken) <= limit:
            return place
        area *= 0.94
    return None


def compose(seed: int, split: str, index: int, rule: str, background_correlation: float, drop_parts: float) -> Scene:
    """The scene of an index: a pure function of its arguments."""

    def dice(aspect: str) -> Dice:
        return Dice(seed, "critters", split, index, aspect)

    label = dice("label").below(len(CLASSES))
    labels = [label, *_company(dice("company"), label, rule)]
    dropping = dice("dropped parts")
    dropped = tuple(part for part in INFORMATIVE if dropping.chance(drop_parts))

    creatures: list[Thing] = []
    for i, own_label in enumerate(labels):
        looks = part_looks(dice(f"parts {i}"), own_label, rule)
        layers = creature_layers(dice(f"colours {i}"), looks)
        place = _creature_place(dice(f"place {i}"), layers, [c.place.box for c in creatures], len(labels) == 1)
        if place is not None:
            creatures.append(Thing("creature", layers, place, own_label, looks, () if i else dropped))

    ground = dice("background")
    own = ground.chance(background_correlation) or rule == "background"
    any_kind = ground.pick(BACKGROUNDS)
    key, glow = ground.below(1 << 31), ground.below(25) - 12
    tint = (glow + ground.below(13) - 6, glow + ground.below(13) - 6, glow + ground.below(13) - 6)
    background = BACKGROUNDS[label] if own else any_kind
    distractors = _distractors(dice("distractors"), [c.place.box for c in creatures])
    return Scene(label, background, key, tint, tuple(creatures), distractors)


def _company(dice: Dice, label: int, rule: str) -> list[int]:
    """The labels of further creatures; where the background determines the class, all have the same label."""
    count = 1 + dice.chance(0.3) if dice.chance(0.27) else 0
    labels = []
    for _ in range(count):
        other = (label + 1 + dice.below(len(CLASSES) - 1)) % len(CLASSES)
        labels.append(label if dice.chance(0.5) or rule == "background" else other)
    return labels


def _creature_place(dice: Dice, layers: Sequence[Layer], taken: Sequence[Box], alone: bool) -> Place | None:
    """The labelled creature's place, which is smaller in company, or that of a further one, where it finds room."""
    if not taken:
        return draw_place(dice, layers, 0.115 + (0.565 if alone else 0.31) * (dice.unit() + dice.unit()) / 2)
    area = max(0.03, box_area(taken[0]) * dice.between(0.16, 0.36))
    return free_place(dice, layers, area, taken, 0.15)


def _distractors(dice: Dice, taken: Sequence[Box]) -> tuple[Thing, ...]:
    """Up to three distractors, largely beside the creatures; one that finds no room is left out."""
    things: list[Thing] = []
    for _ in range(dice.below(4)):
        kind = dice.pick(tuple(DISTRACTORS))
        look, colours = DISTRACTORS[kind]
        layers = (look(noisy(dice, dice.pick(colours), 10)),)
        place = free_place(dice, layers, dice.between(0.012, 0.05), [*taken, *(t.place.box for t in things)], 0.3)
        if place is not None:
            things.append(Thing(kind, layers, place))
    return tuple(things)
