"""The interface of data sets: image ids, and for each id a sample and, where they exist, annotations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from xaibench.errors import XaibenchError
from xaibench.hashing import content_hash as content_hash  # plug-ins written before 0.2 import it from here
from xaibench.parsing import is_text
from xaibench.seeds import derive

LONGEST_NAME = 1000  # characters of the name of a class or an image; records of runs hold four times as many


@dataclass(frozen=True)
class Sample:
    """One image as it is displayed to a model, before the model's own encoding.

    image (H, W, 3) uint8; label is a class index; digest identifies the content of the source (hex), so that a replaced
    photo is detected.
    """

    image_id: str
    image: np.ndarray
    label: int
    digest: str


@dataclass(frozen=True)
class Annotation:
    """The annotations of one image, in the pixels of `Sample.image`.

    labels: classes present, the sample's own first. boxes (N, 4) int64, x0 y0 x1 y1 with x1 and y1 exclusive, one per
    instance; box_labels (N,) int64. instances (N, H, W) bool: visible pixels of each, (0, H, W) where the image has
    none. masks: visible pixels (H, W) bool of each class, where these are known without instances. objects: masks of
    all objects of any kind, by level (name to (M, H, W) bool). parts: visible pixels of each named part of the labelled
    object, name to (H, W) bool. ignored (H, W) bool: pixels that the data set leaves undecided, such as the outlines in
    VOC's masks; protocols that use masks leave them out. background: the name of the scene, "" where unknown.
    """

    labels: tuple[int, ...]
    boxes: np.ndarray
    box_labels: np.ndarray
    instances: np.ndarray
    objects: Mapping[str, np.ndarray] = field(default_factory=dict)
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)
    background: str = ""
    masks: Mapping[int, np.ndarray] = field(default_factory=dict)
    ignored: np.ndarray | None = None


@dataclass(frozen=True)
class Piece:
    """A file or folder of a data set: its content, its path, how many entries were found there (None: it is missing),
    and whether it is optional."""

    what: str
    path: Path
    count: int | None
    optional: bool = False


class Dataset(ABC):
    """A list of image ids (POSIX paths relative to the data root) and a way to load each.

    name, classes (names by class index) and ids are attributes that a constructor sets. on_disk: whether images are
    files, which may be replaced and should not all be kept in memory. knows: the annotations that `annotate` and `draw`
    provide: `boxes`, `masks` (of classes), `instances`, `objects`, `parts`, `redraw`.
    """

    on_disk: ClassVar[bool] = False
    knows: ClassVar[frozenset[str]] = frozenset()
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

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The classes of an image, its own label first; data sets with several classes per image return more than
        one."""
        return (self.label(image_id),)

    def group(self, image_id: str) -> str:
        """The name of the group of images that an image belongs to, such as G1 to G4 of Waterbirds; "" for none."""
        return ""

    def exif_way(self, image_id: str) -> str:
        """How a photo with an EXIF orientation is shown: `upright`, or `raw`, as it is stored; "" for other images."""
        return ""

    def skipped_files(self) -> Mapping[str, Sequence[str]]:
        """The entries of the data set's folders that it leaves out, by the reason."""
        return {}

    def pieces(self) -> list[Piece]:
        """The files and folders that it was read from, for `xaibench data check`."""
        return []

    @classmethod
    def download(cls, root: Path, **options: Any) -> None:
        """Fetches the data from its source into the layout that the card describes.

        Raises XaibenchError with the address of the source, if it cannot be fetched by a program or there is no
        network.
        """
        raise XaibenchError(f"data set {cls.name} cannot be fetched by this command; its notes say where to get it")

    def annotate(self, image_id: str) -> Annotation:
        """The annotations of an image; raises XaibenchError for a data set without annotations."""
        raise XaibenchError(f"data set {self.name} has no annotations")

    def draw(self, image_id: str, without: Iterable[str] = ()) -> np.ndarray:
        """The displayed image without some parts or objects, for data sets that can draw it."""
        raise XaibenchError(f"data set {self.name} cannot be drawn without parts")

    def image_list(self, count: int | None = None) -> list[str]:
        """The first `count` ids of the data set's one shuffled order (all by default).

        The order sorts ids by a hash of each, so it is the same for every model, method, seed and machine, 50 images
        are a prefix of 100, and adding images moves no other.
        """
        shuffled = hashed_order(self.ids)
        return shuffled if count is None else shuffled[:count]


def hashed_order(ids: Iterable[str]) -> list[str]:
    """Ids sorted by a hash of each: an order that has nothing to do with what the images show."""
    return sorted(ids, key=hashed_place)


def hashed_place(image_id: str) -> int:
    """The hash that says where an image stands in the order of images: 63 bits, the same in every data set."""
    return derive(0, "image list", image_id)


def check_names(names: Iterable[str], what: str) -> None:
    """Raises XaibenchError for a name that records, rows and keys cannot hold: bytes that are no text, or more than
    LONGEST_NAME characters; what: such as `data set pets: the class`."""
    for name in names:
        if isinstance(name, str) and not is_text(name):
            raise XaibenchError(f"{what} {ascii(name)[:80]} is no text in UTF-8; rename it")
        if isinstance(name, str) and len(name) > LONGEST_NAME:
            raise XaibenchError(
                f"{what} {name[:40]!r}... has {len(name)} characters, more than {LONGEST_NAME}; give it a shorter name"
            )


def validate_sample(sample: object, side: int, classes: int, dataset: str) -> Sample:
    """What a data set loaded, if it is a sample of (side, side, 3) uint8 with a label below the number of classes.

    Raises XaibenchError that describes it otherwise.
    """
    if not isinstance(sample, Sample):
        raise XaibenchError(f"data set {dataset} loaded {type(sample).__name__}, not a Sample")
    image, shape = sample.image, (side, side, 3)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape != shape:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise XaibenchError(f"data set {dataset}: image {sample.image_id} is {found}, not uint8 {shape}")
    if not 0 <= sample.label < classes:
        raise XaibenchError(f"data set {dataset}: image {sample.image_id} has class {sample.label} of {classes}")
    return sample
