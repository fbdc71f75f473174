"""The data set of critters: ids, samples, annotations, and the same scenes with something taken away."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from xaibench.datasets.base import Annotation, Dataset, Sample
from xaibench.datasets.critters.draw import Picture, render
from xaibench.datasets.critters.layout import compose
from xaibench.datasets.critters.scene import BACKGROUNDS, CLASSES, PARTS, RULES, Scene
from xaibench.errors import XaibenchError, did_you_mean
from xaibench.hashing import content_hash

# Raise with every change of a pixel or of a label, so that stored results of the older drawing are not mixed in.
VERSION = 1
SIZES = (32, 512)
_scene = lru_cache(maxsize=256)(compose)
KEPT = 64 << 20  # bytes of the pictures of a size that a process keeps


class Critters(Dataset):
    """Creatures made of parts in textured scenes, drawn on demand and the same on every machine.

    split: any word; it is a purpose of the seed, so that "train", "val" and "test" have no scene in common. count: how
    many images. size: height and width in pixels, 32 to 512; a scene is the same at every size.

    rule: what determines the class of a creature.
    - "redundant": body, wings, tail and beak, each of them alone; the head has the body's colour.
    - "one:body", "one:wings", "one:tail", "one:beak": that part; the others are drawn independently.
    - "conjunction": twice the wing shape (0..4) plus the kind of the tail (0 or 1); all else is independent.
    - "background": only the texture of the background; all creatures of a scene then have its label.

    background_correlation: the probability (0..1) that a scene has its class's own background rather than any of the
    ten. drop_parts: the probability (0..1) that each of the four informative parts of the labelled creature is left
    out. Raises XaibenchError for arguments out of range.
    """

    name = "critters"
    knows = frozenset({"boxes", "masks", "instances", "objects", "parts", "redraw"})
    classes: Sequence[str] = CLASSES

    def __init__(
        self,
        split: str = "test",
        count: int = 5000,
        size: int = 64,
        rule: str = "redundant",
        background_correlation: float = 0.0,
        drop_parts: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not split or "/" in split:
            raise XaibenchError(f"critters: split {split!r} is no name; give a word without '/', such as 'train'")
        if not isinstance(count, int) or not 1 <= count <= 10**6:
            raise XaibenchError(f"critters: count {count!r} is out of range; give 1 to 1000000")
        if not isinstance(size, int) or not SIZES[0] <= size <= SIZES[1]:
            raise XaibenchError(f"critters: size {size!r} is out of range; give {SIZES[0]} to {SIZES[1]} pixels")
        if rule not in RULES:
            raise _no_such("rule", rule, RULES)
        for option, value in (("background_correlation", background_correlation), ("drop_parts", drop_parts)):
            if not 0 <= value <= 1:
                raise XaibenchError(f"critters: {option} {value} is no probability; give a number from 0 to 1")
        self.split, self.count, self.size, self.rule, self.seed = split, count, size, rule, seed
        self.background_correlation, self.drop_parts = float(background_correlation), float(drop_parts)
        self.ids = tuple(f"{split}/{i:06d}" for i in range(count))

    def load(self, image_id: str) -> Sample:
        """The sample of an id: image (size, size, 3) uint8; raises XaibenchError for an id that is not in `ids`."""
        picture, label = self._picture(image_id)
        return Sample(image_id, picture.image.copy(), label, self.digest(image_id))

    def label(self, image_id: str) -> int:
        """The class index of an image, without drawing it."""
        return self.scene(image_id).label

    def group(self, image_id: str) -> str:
        """`own-background` where the scene has the background of its label's class, `other-background` elsewhere."""
        scene = self.scene(image_id)
        return "own-background" if scene.background == BACKGROUNDS[scene.label] else "other-background"

    def digest(self, image_id: str) -> str:
        """A hash (hex) of all that decides the image: the drawing's version, the arguments and the id."""
        self._index(image_id)
        source = (VERSION, self.seed, image_id, self.size, self.rule, self.background_correlation, self.drop_parts)
        return content_hash(repr(source).encode())

    def annotate(self, image_id: str) -> Annotation:
        """Masks, boxes and labels of an image, exact to the pixel.

        Every pixel belongs to at most one part of one thing. `labels` has each class once, the sample's own first;
        instances and boxes are those of all creatures, the labelled one first. `objects` has the levels "creatures"
        (as instances), "parts" (of all creatures) and "distractors" (in the order of "distractor:0", ...). `parts` has
        the visible parts of the labelled creature; parts that were dropped are missing.
        """
        scene = self.scene(image_id)
        picture, _ = self._picture(image_id)
        creatures = np.stack([_mask(picture, f"creature:{i}") for i in range(len(scene.creatures))])
        parts = {key: picture.owner == i for i, key in enumerate(picture.keys) if key[1] and (picture.owner == i).any()}
        labels = [creature.label for creature in scene.creatures]
        return Annotation(
            labels=tuple(dict.fromkeys(labels)),
            boxes=np.array([_box(mask) for mask in creatures], dtype=np.int64),
            box_labels=np.array(labels, dtype=np.int64),
            instances=creatures,
            objects={
                "creatures": creatures,
                "parts": np.stack(list(parts.values())),
                "distractors": self._stack([_mask(picture, f"distractor:{i}") for i in range(len(scene.distractors))]),
            },
            parts={part: parts["creature:0", part] for part in PARTS if ("creature:0", part) in parts},
            background=scene.background,
        )

    def draw(self, image_id: str, without: Iterable[str] = ()) -> np.ndarray:
        """The image without some things, uint8 (size, size, 3); `draw(i)` equals `load(i).image`.

        without: parts of the labelled creature ("beak", "body", "head", "wings", "tail", "eyes") and things
        ("creature:0", "creature:1", "distractor:2"), any number of them. Only the pixels of the masks in `annotate`
        change, and hidden things behind them become visible. Each name is that part alone: without "head" the eyes stay
        where they are; "body" includes the feet. A part that was dropped already changes nothing. Raises XaibenchError
        for a name that is not in the scene.
        """
        scene = self.scene(image_id)
        names = frozenset((without,) if isinstance(without, str) else without)
        known = (
            *PARTS,
            *(f"creature:{i}" for i in range(len(scene.creatures))),
            *(f"distractor:{i}" for i in range(len(scene.distractors))),
        )
        for name in sorted(names):
            if name not in known:
                raise _no_such(f"part or object in {image_id}", name, known)
        return render(scene, self.size, names).image

    def scene(self, image_id: str) -> Scene:
        """The description from which an image is drawn: what is where, in which shape and colour."""
        return _scene(*self._decided_by(image_id))

    def _picture(self, image_id: str) -> tuple[Picture, int]:
        """The whole picture, which others get too, and its label."""
        return _pictures(self.size)(*self._decided_by(image_id))

    def _decided_by(self, image_id: str) -> tuple:
        """The arguments of `compose`, which decide a scene."""
        index = self._index(image_id)
        return self.seed, self.split, index, self.rule, self.background_correlation, self.drop_parts

    def _index(self, image_id: str) -> int:
        split, _, number = image_id.rpartition("/")
        if split == self.split and len(number) == 6 and number.isascii() and number.isdigit():
            index = int(number)
            if index < self.count:
                return index
        raise XaibenchError(f"critters: no image {image_id!r}; ids go from {self.ids[0]} to {self.ids[-1]}")

    def _stack(self, masks: Collection[np.ndarray]) -> np.ndarray:
        """Masks as one array (M, size, size) bool, also when there are none."""
        return np.stack(list(masks)) if masks else np.zeros((0, self.size, self.size), dtype=bool)


@lru_cache
def _pictures(size: int) -> Callable[..., tuple[Picture, int]]:
    """Draws scenes of a size; the last ones are kept, since trainings and protocols ask for the same again."""

    @lru_cache(maxsize=KEPT // (5 * size * size))  # 3 bytes of a pixel's colour, 2 of its owner
    def draw(*decided_by: Any) -> tuple[Picture, int]:
        scene = _scene(*decided_by)
        return render(scene, size), scene.label

    return draw


def _no_such(what: str, name: str, known: Collection[str]) -> XaibenchError:
    close = did_you_mean(str(name), known, most=2)
    return XaibenchError(f"critters: no {what} named {name!r}; {close and close + ' '}known are {', '.join(known)}")


def _mask(picture: Picture, thing: str) -> np.ndarray:
    """The visible pixels of a thing, all parts together, bool (H, W)."""
    mine = [i for i, key in enumerate(picture.keys) if key[0] == thing]
    return np.isin(picture.owner, mine)


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The tight box x0, y0, x1, y1 of a mask, x1 and y1 exclusive."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
