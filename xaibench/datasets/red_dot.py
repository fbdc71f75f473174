"""One class of any data set marked by a small red dot: a known shortcut, which evaluations should reveal.

Bartak, Szewczyk, Vlasenko, Shi, TMLR 2024: a model that uses the dot no longer predicts the class without these few
pixels, so the deletion score, where lower is better, rewards it for not being robust. The paper's dot is small, of one
size, at the upper left; its diameter is not given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from xaibench.cards import Geometry
from xaibench.datasets.base import Annotation, Dataset, Sample, validate_sample
from xaibench.datasets.placement import Placement
from xaibench.datasets.reading import one_of
from xaibench.datasets.wrapped import Wrapped
from xaibench.errors import XaibenchError, unknown
from xaibench.hashing import content_hash

RED = (255, 0, 0)
OPTIONS = ("red_dot", "red_dot_place", "red_dot_radius")
PLACES = ("top-left", "top-right", "bottom-left", "bottom-right", "centre")
VERSION = 1  # raise with every change of the dot's pixels
MARK = "mark"


class Marked(Wrapped):
    """A data set whose images of one class have a red dot; everything else is as before.

    red_dot: the class that is marked, by its name or, where no class has that name, its index; an image's class is its
    `label`. geometry: how the data set displays its images. red_dot_radius: of the dot, as a share of the displayed
    side, above 0 and at most 0.25; its centre is two radii from the edges. red_dot_place: top-left, top-right,
    bottom-left, bottom-right or centre.

    The dot is painted after a photo is displayed. `open` gives the photo with the dot where it will be displayed, so a
    random crop of it may miss the dot. Raises XaibenchError for a class that is not there and for numbers out of range.
    """

    def __init__(
        self, dataset: Dataset, geometry: Geometry, red_dot: str | int, red_dot_radius: float = 0.05,
        red_dot_place: str = "top-left",
    ):  # fmt: skip
        number = isinstance(red_dot_radius, int | float) and not isinstance(red_dot_radius, bool)
        if not number or not 0 < red_dot_radius <= 0.25:
            raise XaibenchError(f"red_dot_radius is a share of the side, above 0 up to 0.25, not {red_dot_radius!r}")
        super().__init__(dataset)
        self.geometry, self.place = geometry, one_of("red_dot_place", red_dot_place, PLACES)
        self.knows = dataset.knows | {"objects"}
        self.marked = class_index(red_dot, list(dataset.classes))
        self.radius = max(red_dot_radius * geometry.crop, 0.75)  # so that a pixel's centre is always in it
        self.dot = dot_mask(geometry.crop, self.radius, self.place)

    def load(self, image_id: str) -> Sample:
        """The sample, with the dot if it is of the marked class."""
        sample = self._unmarked(image_id)
        if sample.label != self.marked:
            return sample
        return replace(sample, image=self._painted(sample.image), digest=self._with_mark(sample.digest))

    def open(self, image_id: str) -> Image.Image:
        """The photo as it is, with the dot where it will be displayed, for training that crops at random."""
        photo = self.dataset.open(image_id)
        if not self._is_marked(image_id):
            return photo
        placement = Placement(*photo.size, self.geometry)
        scale = np.array(placement.resized) / photo.size
        (x, y), (rx, ry) = (self._centre + placement.origin) / scale, self.radius / scale
        columns, rows = np.arange(photo.size[0]) + 0.5, np.arange(photo.size[1])[:, None] + 0.5
        pixels = np.array(photo)
        pixels[((columns - x) / rx) ** 2 + ((rows - y) / ry) ** 2 <= 1] = RED
        return Image.fromarray(pixels)

    def digest(self, image_id: str) -> str:
        """The hash of the source, and of the mark where there is one."""
        found = self.dataset.digest(image_id)
        return self._with_mark(found) if self._is_marked(image_id) else found

    def annotate(self, image_id: str) -> Annotation:
        """The data set's annotation, with the level `mark` of objects: the dot, or nothing on images without one.

        Pixels below the dot are no longer visible: they are removed from all instances, classes, objects and parts.
        """
        known = self.annotated(image_id, self.geometry.crop)
        if not self._is_marked(image_id):
            return replace(known, objects={**known.objects, MARK: np.zeros((0, *self.dot.shape), dtype=bool)})
        return replace(
            known,
            instances=known.instances & ~self.dot,
            objects={**self._uncovered(known.objects), MARK: self.dot[None]},
            parts=self._uncovered(known.parts),
            masks=self._uncovered(known.masks),
        )

    def draw(self, image_id: str, without: Iterable[str] = ()) -> np.ndarray:
        """The displayed image without some parts or objects, and without the dot where `mark` is one of them."""
        names = {without} if isinstance(without, str) else set(without)
        rest = names - {MARK}
        image = self.dataset.draw(image_id, rest) if rest else self._unmarked(image_id).image
        return self._painted(image) if self._is_marked(image_id) and MARK not in names else image

    @property
    def _centre(self) -> np.ndarray:
        return dot_centre(self.geometry.crop, self.radius, self.place)

    def _unmarked(self, image_id: str) -> Sample:
        return validate_sample(super().load(image_id), self.geometry.crop, len(self.classes), self.name)

    def _is_marked(self, image_id: str) -> bool:
        return self.dataset.label(image_id) == self.marked

    def _painted(self, image: np.ndarray) -> np.ndarray:
        image = image.copy()
        image[self.dot] = RED
        return image

    def _with_mark(self, digest: str) -> str:
        return content_hash(repr(("red dot", VERSION, digest, self.radius, self.place, self.geometry.crop)).encode())

    def _uncovered(self, masks: Mapping) -> dict:
        return {key: mask & ~self.dot for key, mask in masks.items()}


def dot_centre(side: int, radius: float, place: str) -> np.ndarray:
    """(x, y) of the dot's centre, two radii from the edges of a square of so many pixels, or in its centre."""
    near, far = 2 * radius, side - 2 * radius
    if place == "centre":
        return np.array([side / 2, side / 2])
    return np.array([near if "left" in place else far, near if "top" in place else far])


def dot_mask(side: int, radius: float, place: str) -> np.ndarray:
    """(side, side) bool: pixels whose centre is at most a radius from the dot's."""
    x, y = dot_centre(side, radius, place)
    middle = np.arange(side) + 0.5
    return np.hypot(middle - x, middle[:, None] - y) <= radius


def class_index(named: str | int, classes: list[str]) -> int:
    """The index of a class that is given by its name, or by its index where no class has that name.

    Raises XaibenchError for a name that several classes have or none, and for an index beyond the last.
    """
    found = [index for index, name in enumerate(classes) if name == str(named)]
    if len(found) > 1:
        raise XaibenchError(f"red_dot: classes {' and '.join(map(str, found))} are called {named!r}; give an index")
    if found:
        return found[0]
    if isinstance(named, int) and not isinstance(named, bool):
        if 0 <= named < len(classes):
            return named
        raise XaibenchError(f"red_dot: no class {named}; indices go from 0 to {len(classes) - 1}")
    raise unknown("class", str(named), classes)


def mark(dataset: Dataset, geometry: Geometry, options: dict[str, Any]) -> Dataset:
    """The data set with one class marked according to options; raises XaibenchError where they name no class, or one of
    which there is no image."""
    if "red_dot" not in options:
        raise XaibenchError(f"{' and '.join(options)} need red_dot=CLASS, the class that is marked")
    marked = Marked(dataset, geometry, **options)
    if not any(dataset.label(image_id) == marked.marked for image_id in dataset.ids):
        name = dataset.classes[marked.marked]
        raise XaibenchError(
            f"red_dot: none of these {len(dataset.ids)} images is of class {name}; choose one of theirs"
        )
    return marked
