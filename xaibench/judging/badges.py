"""Critters with badges: scenes in which features are shown exactly, so that a convolution detects them without error.

The colours of a critters scene are squeezed to 32..223 in each channel. What a badge shows has channels at 0 or 255,
which no pixel of a scene has: a detector that fires only near such a corner of the colour cube is exact by construction
on every image that can be drawn. A badge is 32 pixels of one colour in an 8x8 square; the feature `ground` dyes all
pixels of the background instead (green at 255, red and blue as they were). Where each badge would be is drawn for all
features of an image, shown or not, so an image can be drawn again with any set of features, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from xaibench.datasets.base import Annotation, Dataset, Sample
from xaibench.datasets.critters import Critters
from xaibench.datasets.critters.dice import Dice
from xaibench.datasets.critters.draw import render
from xaibench.errors import XaibenchError, did_you_mean
from xaibench.hashing import content_hash
from xaibench.judging.law import Law, State

VERSION = 1  # raise with every change of a pixel or of a label
SIDE, BADGE, SLOT = 64, 8, 12
LOW, HIGH = 32, 223
MASS = 32  # pixels of a badge

GROUND = "ground"

# Each has MASS pixels in a square of BADGE x BADGE: (first column, number of columns) of each row, or two of them.
_ROWS = {
    "disc": ("...##...", "..####..", "..####..", ".######.", ".######.", "..####..", "..####..", "...##..."),
    "cross": ("...##...", "...##...", "..####..", "########", "########", "..####..", "...##...", "...##..."),
    "bars": ("########", "########", "........", "........", "........", "........", "########", "########"),
    "beam": ("####....", "####....", "####....", "####....", "####....", "####....", "####....", "####...."),
    "corner": ("########", "########", "########", "##......", "##......", "##......", "##......", "........"),
    "slab": ("........", "........", "########", "########", "########", "########", "........", "........"),
}
SHAPES: Mapping[str, np.ndarray] = {
    name: np.array([[mark == "#" for mark in row] for row in rows]) for name, rows in _ROWS.items()
}


@dataclass(frozen=True)
class Badge:
    """How a feature looks: 32 pixels of a shape in one colour, whose channels are 0 or 255.

    place: row and column of its square, None where these are drawn for each image.
    """

    shape: str
    colour: tuple[int, int, int]
    place: tuple[int, int] | None = None


class Badged(Dataset):
    """Scenes of critters, 64x64, with badges; which are shown and what label that means is given by a law.

    name: part of the seed, so that data sets of two names have other features at other places. badges: how each
    feature of the law looks, for all of them but `ground`. sockets: whether a grey badge (128) stands where a feature
    is not shown, so that even a linear network sees no scene there. Raises XaibenchError where a badge is missing.
    """

    knows = frozenset({"masks", "objects", "parts", "redraw"})

    def __init__(
        self, name: str, law: Law, badges: Mapping[str, Badge], classes: Collection[str], *, split: str = "test",
        count: int = 5000, seed: int = 0, sockets: bool = False,
    ) -> None:  # fmt: skip
        missing = set(law.features) - set(badges) - {GROUND}
        if missing:
            raise XaibenchError(f"data set {name}: give a badge for {', '.join(sorted(missing))}")
        self.name, self.law, self.badges, self.sockets, self.seed = name, law, dict(badges), sockets, seed
        self.classes = tuple(classes)
        self.scenes = Critters(split, count, SIDE, seed=seed)
        self.ids = self.scenes.ids

    def state(self, image_id: str) -> State:
        """Which features an image shows: 0 or 1 for each feature of the law."""
        self.scenes.scene(image_id)  # refuses unknown ids
        return self.law.draw(self._dice("features", image_id))

    def shown(self, image_id: str) -> tuple[str, ...]:
        """The names of the features that an image shows."""
        return tuple(name for name, value in zip(self.law.features, self.state(image_id), strict=True) if value)

    def label(self, image_id: str) -> int:
        """The label that the law gives."""
        return self.law.label(self.state(image_id))

    def load(self, image_id: str) -> Sample:
        """The sample of an id: image (64, 64, 3) uint8; raises XaibenchError for an id that is not in `ids`."""
        return Sample(image_id, self.show(image_id, self.shown(image_id)), self.label(image_id), self.digest(image_id))

    def digest(self, image_id: str) -> str:
        """A hash (hex) of all that decides the image."""
        looks = sorted((name, repr(badge)) for name, badge in self.badges.items())
        law = self.law.features, [(s, c, self.law.label(s)) for s, c in sorted(self.law.chances.items())]
        source = VERSION, self.name, self.seed, self.sockets, looks, law, self.scenes.digest(image_id)
        return content_hash(repr(source).encode())

    def show(self, image_id: str, features: Iterable[str]) -> np.ndarray:
        """The scene of an image with any set of features, uint8 (64, 64, 3); the data may never show such a set."""
        wanted = set(features)
        self._check(wanted)
        scene, ground = self._scene(image_id)
        image = scene.copy()
        if GROUND in wanted:
            image[ground & ~self._sites(image_id), 1] = 255
        for name, mask in self._badge_masks(image_id).items():
            if name in wanted:
                image[mask] = self.badges[name].colour
            elif self.sockets:
                image[mask] = 128
        return image

    def draw(self, image_id: str, without: Iterable[str] = ()) -> np.ndarray:
        """The image without some of its features, uint8 (64, 64, 3); one that is not shown changes nothing."""
        names = {without} if isinstance(without, str) else set(without)
        self._check(names)
        return self.show(image_id, set(self.shown(image_id)) - names)

    def masks(self, image_id: str, features: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """The pixels of each feature, (64, 64) bool, of those that the image shows or of a given set.

        These are the pixels that change where the feature is taken away. They are disjoint.
        """
        wanted = set(self.shown(image_id)) if features is None else set(features)
        self._check(wanted)
        found = {name: mask for name, mask in self._badge_masks(image_id).items() if name in wanted}
        if GROUND in wanted:
            found[GROUND] = self._scene(image_id)[1] & ~self._sites(image_id)
        return {name: found[name] for name in self.law.features if name in found}

    def annotate(self, image_id: str) -> Annotation:
        """Features that are shown as parts, and as the level `features` of objects; the label."""
        masks = self.masks(image_id)
        stack = np.stack(list(masks.values())) if masks else np.zeros((0, SIDE, SIDE), dtype=bool)
        none = np.zeros((0, 4), dtype=np.int64)
        label = self.label(image_id)
        everything = stack.any(0)
        return Annotation(
            (label,), none, none[:, 0], np.zeros((0, SIDE, SIDE), dtype=bool), {"features": stack}, masks,
            self.scenes.scene(image_id).background, {label: everything},
        )  # fmt: skip

    def _scene(self, image_id: str) -> tuple[np.ndarray, np.ndarray]:
        return _drawn(self.seed, self.scenes.split, self.scenes.count, image_id)

    def _badge_masks(self, image_id: str) -> dict[str, np.ndarray]:
        masks = {}
        for name, (row, column) in self._places(image_id).items():
            mask = np.zeros((SIDE, SIDE), dtype=bool)
            mask[row : row + BADGE, column : column + BADGE] = SHAPES[self.badges[name].shape]
            masks[name] = mask
        return masks

    def _places(self, image_id: str) -> dict[str, tuple[int, int]]:
        """Row and column of each badge: slots of 12 pixels, 5 by 5, none twice, with a jitter of 0 to 3 pixels.

        The slot at the upper left is left to badges with a place of their own.
        """
        dice = self._dice("places", image_id)
        slots = list(range(1, 25))
        places = {}
        for name in (name for name in self.law.features if name in self.badges):
            slot = slots.pop(dice.below(len(slots)))
            row, column = 2 + SLOT * (slot // 5) + dice.below(4), 2 + SLOT * (slot % 5) + dice.below(4)
            places[name] = self.badges[name].place or (row, column)
        return places

    def _sites(self, image_id: str) -> np.ndarray:
        """The pixels (64, 64) bool of all badges, shown or not: the ground is never dyed there, so that a badge hides
        no dye."""
        return np.logical_or.reduce([*self._badge_masks(image_id).values(), np.zeros((SIDE, SIDE), dtype=bool)])

    def _dice(self, purpose: str, image_id: str) -> Dice:
        return Dice(self.seed, "judging", self.name, purpose, image_id)

    def _check(self, names: Collection[str]) -> None:
        for name in sorted(set(names) - set(self.law.features)):
            close = did_you_mean(str(name), self.law.features, most=2)
            known = ", ".join(self.law.features)
            raise XaibenchError(f"{self.name}: no feature named {name!r}; {close and close + ' '}known are {known}")


@lru_cache(maxsize=256)
def _drawn(seed: int, split: str, count: int, image_id: str) -> tuple[np.ndarray, np.ndarray]:
    """A scene in squeezed colours, and the pixels (64, 64) bool of its background; the same for every network."""
    picture = render(Critters(split, count, SIDE, seed=seed).scene(image_id), SIDE)
    squeezed = LOW + picture.image.astype(np.int64) * (HIGH - LOW) // 255
    return squeezed.astype(np.uint8), picture.owner < 0
