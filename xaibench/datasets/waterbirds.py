"""Waterbirds: birds of CUB pasted on photos of land and water, so that the background is correlated with the class.

Sagawa et al., ICLR 2020 (95 % of the training images agree), and the variant where all of them do, Petryk et al., CVPR
2022; the reversed task, in which the class is the background, is that of Rao et al., ICCV 2023.
"""

from __future__ import annotations

import csv
import io
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from xaibench.cards import Geometry
from xaibench.datasets.base import Annotation, Piece
from xaibench.datasets.cub import FOLDER, Birds
from xaibench.datasets.exif import read_header
from xaibench.datasets.photos import AUTO, Photos
from xaibench.datasets.placement import Placement
from xaibench.datasets.reading import check_photos, find_folder, one_object, one_of, read_text, whole
from xaibench.errors import XaibenchError

FOLDERS = {
    95: ("waterbird_complete95_forest2water2",),
    100: ("waterbird_1.0_forest2water2", "waterbird_complete100_forest2water2"),
}
BIRDS, PLACES, SPLITS = ("landbird", "waterbird"), ("land", "water"), ("train", "val", "test")
GROUPS = {(0, 0): "G1", (0, 1): "G2", (1, 0): "G3", (1, 1): "G4"}  # by bird and place
AGREEING = ("G1", "G4")


class Row(NamedTuple):
    """A line of `metadata.csv`: indices into BIRDS, PLACES and SPLITS."""

    bird: int
    place: int
    split: int

    @property
    def group(self) -> str:
        """G1 landbird on land, G2 landbird on water, G3 waterbird on land, G4 waterbird on water."""
        return GROUPS[self.bird, self.place]


class Waterbirds(Photos):
    """The photos of one split: train, val or test.

    root is the folder of `metadata.csv`, or holds it under its published name. correlation: the percentage of training
    images whose background agrees with the bird, 95 or 100; with 100 the validation images of G2 and G3 are left out.
    task: in `conventional` the class is the bird, in `reversed` the background. cub: the folder CUB_200_2011 with the
    boxes; by default it is searched for in root, beside it, and beside `metadata.csv`'s folder. Raises XaibenchError
    for metadata that is not that of the correlation, and for listed photos that do not exist.
    """

    name = "waterbirds"
    knows = frozenset({"boxes", "masks", "instances", "objects"})

    def __init__(
        self, root: str | Path, geometry: Geometry, split: str = "test", task: str = "conventional",
        correlation: int = 95, cub: str = "", exif: str = AUTO,
    ):  # fmt: skip
        super().__init__(root, geometry, exif)
        one_of("waterbirds: split", split, SPLITS)
        one_of("waterbirds: task", task, ("conventional", "reversed"))
        if correlation not in FOLDERS:
            raise XaibenchError(f"waterbirds: correlation is 95 or 100, not {correlation!r}")
        self.reversed, self.cub = task == "reversed", cub
        self.classes = PLACES if self.reversed else BIRDS
        self.folder = find_folder(root, FOLDERS[correlation], "metadata.csv")
        listed = self.folder / "metadata.csv"
        rows = read_metadata(listed)
        disagreeing = any(row.group not in AGREEING for row in rows.values() if row.split == 0)
        if disagreeing != (correlation == 95):
            found = "agree with their background without exception" if correlation == 95 else "have groups G2 or G3"
            other = {95: 100, 100: 95}[correlation]
            raise XaibenchError(f"{listed}: training images {found}; that is --dataset waterbirds{other}")
        kept = AGREEING if (correlation, split) == (100, "val") else tuple(GROUPS.values())
        self._rows = {name: r for name, r in rows.items() if SPLITS[r.split] == split and r.group in kept}
        self.ids = list(self._rows)
        check_photos([self.path(image_id) for image_id in self.ids], listed)

    @cached_property
    def birds(self) -> Birds:
        """Boxes and segmentations of CUB; raises XaibenchError where they are not found."""
        if self._cub is None:
            raise XaibenchError(
                f"boxes of Waterbirds are those of CUB-200-2011, which is not in {self.root / (self.cub or FOLDER)}; "
                "put it there, or name it by --dataset-option cub=DIR"
            )
        return Birds(self._cub)

    @cached_property
    def _cub(self) -> Path | None:
        beside = (self.root, self.root.parent, self.folder.parent)
        places = [self.root / self.cub] if self.cub else [place / FOLDER for place in beside]
        return next((place for place in places if (place / "images.txt").is_file()), None)

    def path(self, image_id: str) -> Path:
        """The file of a photo."""
        if image_id not in self._rows:
            raise XaibenchError(f"{self.folder} has no photo {image_id!r} in this split")
        return self.folder / PurePosixPath(image_id)

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The bird, or the place where the task is reversed."""
        row = self._rows[image_id]
        return (row.place if self.reversed else row.bird,)

    def group(self, image_id: str) -> str:
        """G1 to G4."""
        return self._rows[image_id].group

    def source(self, image_id: str) -> bytes:
        """The bird's box and mask in CUB, if CUB is found."""
        return self.birds.source(image_id) if self._cub else b""

    def fits(self, image_id: str, size: tuple[int, int]) -> bool | None:
        """Whether CUB's box and mask of the bird, and its photo there, can be those of a photo of this size."""
        if self._cub is None:
            return None
        original = self._original(image_id)
        return self.birds.fit(image_id, size) and (original is None or read_header(original).size == size)

    def annotate(self, image_id: str) -> Annotation:
        """The bird's box, and its mask where CUB's segmentations are there; the name of the place is the background.

        Where the task is reversed, the class is everything outside of the bird's box: the mask of the place, and at
        most four boxes that cover just that (left, right, above, below). The bird stays an object.
        """
        row, placement = self._rows[image_id], self.placement(image_id)
        size = self._checked_size(image_id, placement)
        found = one_object(
            placement, row.bird, self.birds.boxes(image_id, size), self.birds.mask(image_id, size),
            background=PLACES[row.place],
        )  # fmt: skip
        return outside(found, row.place) if self.reversed else found

    def pieces(self) -> list[Piece]:
        """Photos, and the files of CUB."""
        photos, lost = Piece("photos", self.folder, len(self.ids)), self.root / (self.cub or FOLDER)
        return [photos, *(self.birds.pieces() if self._cub else [Piece("CUB's boxes", lost, None, optional=True)])]

    def _checked_size(self, image_id: str, placement: Placement) -> tuple[int, int]:
        """(width, height) of a photo, if it is that of its bird's photo in CUB, where that is there too."""
        size, original = (placement.width, placement.height), self._original(image_id)
        if original is not None:
            wide, high = read_header(original).size
            if (wide, high) != size:
                sizes = f"{size[0]} x {size[1]} pixels, {original} {wide} x {high}"
                raise XaibenchError(f"{self.path(image_id)} is {sizes}; CUB's boxes do not fit resized photos")
        return size

    def _original(self, image_id: str) -> Path | None:
        """The bird's photo in CUB, where it is there."""
        path = self.birds.folder / "images" / PurePosixPath(image_id)
        return path if path.is_file() else None


def outside(bird: Annotation, place: int) -> Annotation:
    """The annotation of a background: the region outside of the bird's boxes, as a mask and as boxes that cover it."""
    height, width = bird.instances.shape[1:]
    mask = np.ones((height, width), dtype=bool)
    boxes = np.array([(0, 0, width, height)], dtype=np.int64)
    for x0, y0, x1, y1 in bird.boxes.tolist():
        if x1 > x0 and y1 > y0:
            mask[y0:y1, x0:x1] = False
            strips = [(0, 0, x0, height), (x1, 0, width, height), (x0, 0, x1, y0), (x0, y1, x1, height)]
            boxes = np.array([b for b in strips if b[2] > b[0] and b[3] > b[1]], dtype=np.int64).reshape(-1, 4)
    return Annotation(
        labels=(place,),
        boxes=boxes,
        box_labels=np.full(len(boxes), place, dtype=np.int64),
        instances=np.zeros((0, height, width), dtype=bool),
        objects=bird.objects,
        background=bird.background,
        masks={place: mask},
    )


def read_metadata(path: Path) -> dict[str, Row]:
    """The lines of `metadata.csv` by file name; raises XaibenchError that names an invalid line."""
    lines = csv.DictReader(io.StringIO(read_text(path)))
    columns = ("img_id", "img_filename", "y", "split", "place", "place_filename")
    if missing := set(columns) - set(lines.fieldnames or ()):
        raise XaibenchError(f"{path} has no column {min(missing)}; Waterbirds has {', '.join(columns)}")
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines, 2):
        name = line["img_filename"]
        if None in line or None in line.values():
            raise XaibenchError(f"{path}:{number}: not as many columns as the first line has")
        if name in rows:
            raise XaibenchError(f"{path}:{number}: {name} is listed twice; remove one of the lines")
        where = f"{path}:{number}: "
        rows[name] = Row(*(whole(line[k], range(n), where + k) for k, n in (("y", 2), ("place", 2), ("split", 3))))
    return rows
