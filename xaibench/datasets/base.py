"""What a data set is: image ids, and for each id a sample and, where it has them, annotations."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from xaibench.seeds import derive


@dataclass(frozen=True)
class Sample:
    """One image as it is displayed to a model, before the model's own encoding.

    image (H, W, 3) uint8; label is a class index; digest names the content of the source (hex), so that a replaced
    photo is noticed.
    """

    image_id: str
    image: np.ndarray
    label: int
    digest: str


@dataclass(frozen=True)
class Annotation:
    """What is known about the objects in one image, in the pixels of `Sample.image`.

    labels: classes present, the sample's own first. boxes (N, 4) int64, x0 y0 x1 y1 with x1 and y1 exclusive, one per
    instance; box_labels (N,) int64. instances (N, H, W) bool: visible pixels of each. objects: masks of everything that
    a person would call an object, by level (name to (M, H, W) bool). parts: visible pixels of each named part of the
    labelled object, name to (H, W) bool. background: the name of the scene, "" where unknown.
    """

    labels: tuple[int, ...]
    boxes: np.ndarray
    box_labels: np.ndarray
    instances: np.ndarray
    objects: Mapping[str, np.ndarray] = field(default_factory=dict)
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)
    background: str = ""


class Dataset(ABC):
    """A list of image ids (POSIX paths relative to the data root) and a way to load each.

    on_disk says whether images are files, which somebody may replace and which are better not all kept in memory.
    """

    on_disk: ClassVar[bool] = False
    name: str
    classes: Sequence[str]
    ids: Sequence[str]

    @abstractmethod
    def load(self, image_id: str) -> Sample:
        """The sample of an id; raises XaibenchError for an image that cannot be read."""

    @abstractmethod
    def digest(self, image_id: str) -> str:
        """The content hash (hex) of an image's source, cheaper than loading it."""

    def label(self, image_id: str) -> int:
        """The class index of an image."""
        return self.load(image_id).label

    def image_list(self, count: int | None = None) -> list[str]:
        """The first `count` ids of the data set's one shuffled order (all by default).

        The order sorts ids by a hash of each, so it is the same for every model, method, seed and machine, 50 images
        are a prefix of 100, and adding images moves no other.
        """
        shuffled = sorted(self.ids, key=lambda image_id: derive(0, "image list", image_id))
        return shuffled if count is None else shuffled[:count]


def content_hash(data: bytes) -> str:
    """The hex digest that names the content of an image's source."""
    return hashlib.blake2b(data, digest_size=10).hexdigest()
