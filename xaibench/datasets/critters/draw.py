"""Renders a scene: every pixel belongs to one part of one thing, or to the background, and shows nothing else.

Shapes are sampled at 3 x 3 points a pixel. A layer owns a pixel if it covers at least half of it and nothing in front
of it does; such a pixel has the layer's colour alone. A pixel of which nothing covers half belongs to the foremost
layer that touches it and mixes that layer's colour with the background, twice as strongly as it is covered. So outlines
against the background are smooth, and yet masks are disjoint and exact: a pixel's colour depends on its owner and the
background only, and taking something away changes its own pixels and no other.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from xaibench.datasets.critters.anatomy import INK, Layer, blend
from xaibench.datasets.critters.scene import Scene, Thing
from xaibench.datasets.critters.shapes import direction, reach, union_depth
from xaibench.datasets.critters.texture import ground

SAMPLES = 3


@dataclass(frozen=True)
class Picture:
    """image (H, W, 3) uint8; owner (H, W) int16, an index into `keys`, -1 for the background.

    keys: (thing, part) such as ("creature:0", "beak") or ("distractor:1", "").
    """

    image: np.ndarray
    owner: np.ndarray
    keys: tuple[tuple[str, str], ...]


def render(scene: Scene, size: int, without: Collection[str] = ()) -> Picture:
    """A scene at a size; `without` names things ("creature:1") or parts of the labelled creature ("beak")."""
    image = ground(scene.background, size, scene.key, scene.tint).astype(np.int32)
    backdrop = image.copy()
    solid = np.zeros((size, size), dtype=bool)
    owner = np.full((size, size), -1, dtype=np.int16)
    keys: list[tuple[str, str]] = []
    for name, thing in painting_order(scene):
        if name in without:
            continue
        for layer in thing.layers:
            if layer.part in thing.dropped or (name == "creature:0" and layer.part in without):
                continue
            if (name, layer.part) not in keys:
                keys.append((name, layer.part))
            rows, columns, count, colour = _paint(thing, layer, size)
            full = 2 * count >= SAMPLES * SAMPLES
            touched = full | ((count > 0) & ~solid[rows, columns])
            alpha = np.minimum(2 * count, SAMPLES * SAMPLES)[..., None]
            under = backdrop[rows, columns]
            mixed = (colour * alpha + under * (SAMPLES * SAMPLES - alpha) + SAMPLES * SAMPLES // 2) // SAMPLES**2
            image[rows, columns][touched] = mixed[touched]
            owner[rows, columns][touched] = keys.index((name, layer.part))
            solid[rows, columns] |= full
    return Picture(image.astype(np.uint8), owner, tuple(keys))


def painting_order(scene: Scene) -> list[tuple[str, Thing]]:
    """Names and things from back to front: distractors, further creatures, the labelled creature."""
    named = [(f"distractor:{i}", thing) for i, thing in enumerate(scene.distractors)]
    return named + [(f"creature:{i}", thing) for i, thing in enumerate(scene.creatures)][::-1]


def _paint(thing: Thing, layer: Layer, size: int) -> tuple[slice, slice, np.ndarray, np.ndarray]:
    """The rows and columns of a layer, how many of each pixel's samples it covers, and their mean colour."""
    place = thing.place
    scale, x0, y0 = place.scale * size, place.x * size, place.y * size
    box = reach(layer.shapes, place.turn, place.flip)
    left, right = max(0, int(x0 + scale * box[0])), min(size, int(x0 + scale * box[2]) + 1)
    top, bottom = max(0, int(y0 + scale * box[1])), min(size, int(y0 + scale * box[3]) + 1)
    c, s = direction(place.turn)
    x = (_sample_points(left, right) - x0) / scale
    y = (_sample_points(top, bottom) - y0)[:, None] / scale
    u, v = (x * c + y * s) * place.flip, y * c - x * s
    depth = union_depth(layer.shapes, u, v)
    inside = depth > 0
    rest = depth > max(0.02, 0.55 / scale)
    count = _count(inside)
    rim = _count(inside & ~rest)
    total = rim[..., None] * np.array(blend(layer.fill, INK, 55), dtype=np.int32)
    for shapes, colour in reversed(layer.marks):
        mark = rest & (union_depth(shapes, u, v) > 0)
        total += _count(mark)[..., None] * np.array(colour, dtype=np.int32)
        rest &= ~mark
    total += _count(rest)[..., None] * np.array(layer.fill, dtype=np.int32)
    some = np.maximum(count, 1)[..., None]
    return slice(top, bottom), slice(left, right), count, (total + some // 2) // some


def _sample_points(start: int, stop: int) -> np.ndarray:
    """The coordinates of the samples in the pixels from start to stop, float64."""
    return (np.arange(SAMPLES * start, SAMPLES * stop) + 0.5) / SAMPLES


def _count(mask: np.ndarray) -> np.ndarray:
    """How many samples of each pixel are set: bool (3h, 3w) to int32 (h, w)."""
    m = mask.view(np.uint8)
    rows = m[0::3] + m[1::3] + m[2::3]
    return (rows[:, 0::3] + rows[:, 1::3] + rows[:, 2::3]).astype(np.int32)
