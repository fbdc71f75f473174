"""ImageNet (ILSVRC 2012): photos in folders named by WordNet id, and the boxes of its localisation task."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np

from xaibench.cards import Geometry
from xaibench.datasets.annotated import contained, in_photo
from xaibench.datasets.base import Annotation, Piece
from xaibench.datasets.exif import RAW
from xaibench.datasets.folder import ImageFolder
from xaibench.datasets.images import read_bytes
from xaibench.datasets.photos import AUTO
from xaibench.datasets.voc_xml import Listed, read_objects
from xaibench.errors import XaibenchError

NO_OBJECT = np.zeros((0, 4))


class ImageNet(ImageFolder):
    """ImageNet's 1000 classes; folders are named by WordNet id; any subset of them can be used.

    Boxes are read from the published XML files where there are any: in Annotations/val, Annotations/CLS-LOC/val or
    Annotations itself, beside or in the folder of the class folders, as NAME.xml or WORDNET-ID/NAME.xml. Without such a
    folder the photos have no boxes, and without a file a photo has none.

    Published boxes have known faults, which are read as the common tools read them: boxes are in the size that the file
    gives, which is not always that of the photo, but must have its shape; corners may be swapped; a box may reach
    beyond its photo, where it is cut off, and is left out where nothing remains; a name that is not a WordNet id means
    the class of the photo. XML corners are taken as edges, x0 = xmin and x1 = xmax: files have 0 as well as the full
    width. Without a size (or one of 0) boxes are in the pixels of the photo.
    """

    name = "imagenet"
    knows = frozenset({"boxes"})
    unannotated = RAW  # as for its published accuracies

    def __init__(self, root: str | Path, geometry: Geometry, split: str = "", exif: str = AUTO):
        super().__init__(root, geometry, split, exif)
        self.boxes = _boxes_folder(self.root, self.top, split)
        if self.boxes is None:
            self.knows = frozenset()

    def _classes(self, top: Path, folders: list[str]) -> Sequence[str]:
        check_folders(top, folders)
        return class_names()

    def _folder_names(self) -> Sequence[str]:
        return wordnet_ids()

    def source(self, image_id: str) -> bytes:
        """The XML file of a photo, where it has one."""
        path = self._xml(image_id)
        return read_bytes(path) if path else b""

    def fits(self, image_id: str, size: tuple[int, int]) -> bool | None:
        """Whether a photo has the shape of the size in its XML file."""
        path = self._xml(image_id)
        if path is None:
            return None
        listed, objects = read_objects(read_bytes(path), path)
        return contained(_edges(objects), size) if listed is None else same_shape(size, listed)

    def annotate(self, image_id: str) -> Annotation:
        """The boxes of a photo, as it is displayed; its own label comes first."""
        if self.boxes is None:
            place = self.top.parent / "Annotations"
            raise XaibenchError(f"data set {self.name} has no boxes: their XML files belong in {place}")
        place, own, path = self.placement(image_id), self.label(image_id), self._xml(image_id)
        boxes, labels = NO_OBJECT, []
        if path:
            boxes, labels = published_boxes(read_bytes(path), path, (place.width, place.height), own)
        side = self.geometry.crop
        return Annotation(
            labels=tuple(dict.fromkeys([own, *labels])),
            boxes=place.boxes(boxes),
            box_labels=np.array(labels, dtype=np.int64),
            instances=np.zeros((0, side, side), dtype=bool),
        )

    def pieces(self) -> list[Piece]:
        """The class folders and the XML files."""
        count = None if self.boxes is None else sum(self._xml(image_id) is not None for image_id in self.ids)
        where = self.boxes or self.top.parent / "Annotations"
        return [*super().pieces(), Piece("boxes of photos", where, count, optional=True)]

    def _xml(self, image_id: str) -> Path | None:
        if self.boxes is None:
            return None
        photo = PurePosixPath(image_id)
        places = (self.boxes / photo.parent.name / f"{photo.stem}.xml", self.boxes / f"{photo.stem}.xml")
        return next((path for path in places if path.is_file()), None)


def check_folders(top: Path, folders: list[str]) -> None:
    """Raises XaibenchError unless all class folders of `top` are named by WordNet ids of the 1000 classes."""
    strange = [name for name in folders if name not in wordnet_ids()]
    if strange:
        raise XaibenchError(
            f"{top} has the folder {strange[0]!r}, which is no WordNet id of ImageNet's 1000 classes "
            "(such as n01440764); for other class folders use --dataset imagefolder"
        )


def published_boxes(data: bytes, path: Path, size: tuple[int, int], own: int) -> tuple[np.ndarray, list[int]]:
    """Boxes (N, 4) float64 in pixels of a photo of (width, height), and the class of each, from ImageNet's XML.

    own is the class of the photo. Raises XaibenchError for a file that is no such XML, for one of a photo of another
    shape, for a WordNet id that is not one of the 1000, and, where the file has no size, for a box beyond the photo.
    """
    listed_size, listed = read_objects(data, path)
    boxes = _edges(listed)
    if listed_size is None:
        boxes = in_photo(boxes, size, [f"{path}, object {number}" for number in range(1, len(listed) + 1)])
    elif same_shape(size, listed_size):
        scale = np.array([*listed_size, *listed_size])
        boxes = (boxes / scale).clip(0, 1) * [*size, *size]
    else:
        (w, h), (wide, high) = size, listed_size
        raise XaibenchError(
            f"{path} has boxes of a photo of {wide:g} x {high:g} pixels, not {w} x {h}; restore the photo"
        )
    labels = []
    for number, entry in enumerate(listed, 1):
        if re.fullmatch(r"n\d{8}", entry.name) is None:
            labels.append(own)
        elif entry.name in wordnet_ids():
            labels.append(wordnet_ids().index(entry.name))
        else:
            raise XaibenchError(f"{path}, object {number}: {entry.name} is none of ImageNet's 1000 classes")
    inside = (boxes[:, 2:] > boxes[:, :2]).all(1)
    return boxes[inside], [label for label, there in zip(labels, inside, strict=True) if there]


def same_shape(size: tuple[int, int], listed: tuple[float, float]) -> bool:
    """Whether two sizes can be those of copies of one photo, whose sides were rounded to pixels when it was resized."""
    (w, h), (wide, high) = size, listed
    turned = w != h and (w, h) == (high, wide)
    return not turned and abs(w * high - h * wide) <= w + h + wide + high


def _edges(listed: Sequence[Listed]) -> np.ndarray:
    """Boxes (N, 4) float64 with x0 <= x1 and y0 <= y1 from corners in any order."""
    corners = np.array([entry.corners for entry in listed], dtype=np.float64).reshape(-1, 2, 2)
    return np.concatenate([corners.min(1), corners.max(1)], 1)


def _boxes_folder(root: Path, top: Path, split: str) -> Path | None:
    """The first folder that may hold XML files, None where there is none; `top` has the class folders."""
    for base in dict.fromkeys((root, top.parent)):
        folder = base / "Annotations"
        for part in dict.fromkeys((top.name, split)):
            for place in (folder / "CLS-LOC" / part, folder / part):
                if part and place.is_dir():
                    return place
        if folder.is_dir():
            return folder
    return None


@cache
def wordnet_ids() -> tuple[str, ...]:
    """WordNet ids of ImageNet's 1000 classes by index (timm carries the list)."""
    from timm.data import ImageNetInfo

    return tuple(ImageNetInfo().label_names())


@cache
def class_names() -> tuple[str, ...]:
    """English names of ImageNet's 1000 classes by index, the first lemma of each."""
    from timm.data import ImageNetInfo

    return tuple(name.split(",")[0] for name in ImageNetInfo().label_descriptions())
