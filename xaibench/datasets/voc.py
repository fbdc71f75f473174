"""PASCAL VOC 2007 and 2012: photos of 20 classes with boxes, some of them with masks.

Everingham, Van Gool, Williams, Winn, Zisserman, "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 2010.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from xaibench.cards import Geometry
from xaibench.datasets.annotated import check_files, check_size, classes_by_area, contained, in_photo
from xaibench.datasets.base import Annotation, Piece
from xaibench.datasets.exif import read_header
from xaibench.datasets.images import read_bytes
from xaibench.datasets.photos import AUTO, Photos
from xaibench.datasets.reading import SPLITS, fetch, one_of, read_table
from xaibench.datasets.voc_masks import class_masks, instance_masks, undecided
from xaibench.datasets.voc_xml import CLASSES, Objects, read_boxes
from xaibench.errors import XaibenchError

MASKS = ("SegmentationClass", "SegmentationObject")
SUFFIXES = {"JPEGImages": ".jpg", "Annotations": ".xml"}


class VOC(Photos):
    """The photos of one list of PASCAL VOC; ids are `JPEGImages/NAME.jpg`.

    root holds VOCdevkit/VOC20XX, or VOC20XX, or is that folder. split: `train`, `val`, `trainval` or `test`. only:
    `all` photos of the list ImageSets/Main, or those with `masks`, of ImageSets/Segmentation. difficult: whether
    objects that are marked so are kept (`keep`, as Rao et al. 2023 do) or treated as if they were not there (`drop`);
    photos without any other are then left out, and counted in `pieces`.

    Corners in the files count pixels from 1 and are inclusive, so x0 is xmin - 1 and x1 is xmax; a box may reach one
    pixel beyond its photo and is cut off there. The size in a file must be that of its photo; it may be missing or 0.
    The label of a photo is the class whose boxes cover most of it. Masks are those of SegmentationObject, object k
    being the k-th of the XML file, or else those of SegmentationClass, by class; the level of `objects` is `annotated`.
    Photos without masks have none. Raises XaibenchError that names the file for anything that is missing or does not
    follow the data set's rules.
    """

    knows = frozenset({"boxes", "masks", "instances", "objects"})
    classes = CLASSES
    year: ClassVar[int]

    def __init__(
        self, root: str | Path, geometry: Geometry, split: str = "val", only: str = "all", difficult: str = "keep",
        exif: str = AUTO,
    ):  # fmt: skip
        super().__init__(root, geometry, exif)
        one_of(f"{self.name}: split", split, SPLITS)
        one_of(f"{self.name}: only", only, ("all", "masks"))
        one_of(f"{self.name}: difficult", difficult, ("keep", "drop"))
        self.folder = _folder(self.root, self.year, self.name)
        self.list = self.folder / "ImageSets" / ("Segmentation" if only == "masks" else "Main") / f"{split}.txt"
        names = _listed_names(self.list, self.name)
        for kind in ("JPEGImages", "Annotations", *(["SegmentationClass"] if only == "masks" else [])):
            check_files([self._file(name, kind) for name in names], self.list)
        read = {f"JPEGImages/{n}.jpg": read_boxes(self._file(n, "Annotations"), difficult == "keep") for n in names}
        self._objects = {image_id: objects for image_id, objects in read.items() if objects.kept.any()}
        if not self._objects:
            raise XaibenchError(f"data set {self.name}: no photo of {self.list} has an object that is kept")
        self.ids, self.left_out = list(self._objects), len(read) - len(self._objects)

    def path(self, image_id: str) -> Path:
        """The file of a photo."""
        self._found(image_id)
        return self.folder / image_id

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The classes of a photo, the one whose boxes cover most of it first, of equals the one of lower index."""
        found = self._found(image_id)
        return classes_by_area(found.boxes[found.kept], found.labels[found.kept])

    def source(self, image_id: str) -> bytes:
        """The XML file and the masks of a photo."""
        files = (self._file(Path(image_id).stem, kind) for kind in ("Annotations", *MASKS))
        return b"\0".join(read_bytes(path) if path.is_file() else b"" for path in files)

    def fits(self, image_id: str, size: tuple[int, int]) -> bool:
        """Whether a photo of this size is that of the XML file, holds its boxes, and has the size of its masks."""
        found, masks = self._found(image_id), (self._file(Path(image_id).stem, kind) for kind in MASKS)
        same = found.size in (None, size) and contained(found.boxes, size)
        return same and all(read_header(path).size == size for path in masks if path.is_file())

    def annotate(self, image_id: str) -> Annotation:
        """Boxes, and masks where the photo has them, as it is displayed."""
        found, place, name = self._found(image_id), self.placement(image_id), Path(image_id).stem
        kept, size = found.kept, (place.width, place.height)
        xml, by_class, by_object = (self._file(name, kind) for kind in ("Annotations", *MASKS))
        check_size(self.path(image_id), size, found.size, xml)
        boxes = in_photo(found.boxes, size, [f"{xml}, object {n + 1}" for n in range(len(kept))])
        masks, instances, ignored = {}, np.zeros((0, *size[::-1]), dtype=bool), None
        if by_object.is_file() and not by_class.is_file():
            raise XaibenchError(f"mask {by_object} has no counterpart {by_class}; restore it")
        if by_class.is_file():
            ignored = place.mask(undecided(by_class, size))
            if by_object.is_file():
                instances = instance_masks(by_object, by_class, size, boxes, found.labels, xml, CLASSES)[kept]
            else:
                known = class_masks(by_class, size, len(CLASSES))
                masks = {label: place.mask(mask) for label, mask in known.items() if label in found.labels[kept]}
        instances = place.masks(instances)
        annotated = instances if len(instances) else np.array([*masks.values()]).reshape(-1, *instances.shape[1:])
        return Annotation(
            labels=self.labels(image_id),
            boxes=place.boxes(boxes[kept]),
            box_labels=found.labels[kept],
            instances=instances,
            objects={"annotated": annotated.astype(bool)},
            masks=masks,
            ignored=ignored,
        )

    def pieces(self) -> list[Piece]:
        """The photos, the XML files and the masks of the list."""
        names = [Path(image_id).stem for image_id in self.ids]
        found = [Piece("photos of the list", self.list, len(names))]
        for kind, what in zip(MASKS, ("masks of classes", "masks of instances"), strict=True):
            count = sum(self._file(name, kind).is_file() for name in names)
            found.append(Piece(what, self.folder / kind, count or None, optional=True))
        if self.left_out:
            found.append(Piece("photos left out, with difficult objects only", self.list, self.left_out, optional=True))
        return found

    @classmethod
    def download(cls, root: Path, split: str = "val", **options: Any) -> None:
        """Fetches the archive of a split, and unpacks it to root/VOCdevkit; see `Dataset.download`."""
        if cls.year == 2012 and split == "test":
            raise XaibenchError(f"data set {cls.name}: annotations of the test photos are not public; take split=val")
        from torchvision.datasets import VOCDetection

        fetch(cls.name, lambda: VOCDetection(root, year=str(cls.year), image_set=split, download=True))

    def _found(self, image_id: str) -> Objects:
        if image_id not in self._objects:
            raise XaibenchError(f"{self.list} has no photo {image_id!r}")
        return self._objects[image_id]

    def _file(self, name: str, kind: str) -> Path:
        """The file of a photo's name in one of the folders."""
        return self.folder / kind / f"{name}{SUFFIXES.get(kind, '.png')}"


class VOC2007(VOC):
    """PASCAL VOC 2007, with a test list."""

    name = "voc2007"
    year = 2007


class VOC2012(VOC):
    """PASCAL VOC 2012, whose test annotations are not public."""

    name = "voc2012"
    year = 2012


def _folder(root: Path, year: int, dataset: str) -> Path:
    """The folder VOC20XX that root holds or is; raises XaibenchError where there is none, or one of another year."""
    places = (root / "VOCdevkit" / f"VOC{year}", root / f"VOC{year}", root)
    for folder in places:
        if all((folder / kind).is_dir() for kind in ("Annotations", "ImageSets", "JPEGImages")):
            other = re.fullmatch(r"VOC(20\d\d)", folder.resolve().name)
            if other and int(other[1]) != year:
                raise XaibenchError(f"--data-root {root} is VOC {other[1]}, not the VOC {year} of data set {dataset}")
            return folder
    raise XaibenchError(
        f"--data-root {root} has no VOCdevkit/VOC{year} with Annotations, ImageSets and JPEGImages; "
        f"`xaibench show dataset {dataset}` shows the layout"
    )


def _listed_names(path: Path, dataset: str) -> list[str]:
    """The names in a list of ImageSets; raises XaibenchError where it is missing, empty, or no list of single names."""
    if not path.is_file():
        others = sorted(p.stem for p in path.parent.glob("*.txt") if p.stem in SPLITS)
        there = f"; name another by --dataset-option split={'|'.join(others)}" if others else ""
        raise XaibenchError(f"data set {dataset}: {path} is missing{there}")
    return list(read_table(path, ("name of a photo",)))
