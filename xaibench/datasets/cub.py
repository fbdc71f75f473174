"""CUB-200-2011: photos of 200 species of birds, each with one box, and masks where the segmentations are there too."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from xaibench.cards import Geometry
from xaibench.datasets.annotated import contained, in_photo
from xaibench.datasets.base import Annotation, Piece
from xaibench.datasets.exif import read_header
from xaibench.datasets.images import read_bytes
from xaibench.datasets.photos import AUTO, Photos
from xaibench.datasets.placement import is_position
from xaibench.datasets.reading import (
    SPLITS,
    check_photos,
    find_folder,
    in_split,
    one_object,
    one_of,
    read_table,
    whole,
)
from xaibench.datasets.walk import count_files
from xaibench.errors import XaibenchError, one_line

FOLDER = "CUB_200_2011"
AGREEMENT = 128  # of 255: grey values of a segmentation are the share of annotators that agree


class Birds:
    """The boxes and segmentations of CUB-200-2011, by the photo's name in `images.txt`.

    Raises XaibenchError for tables that do not fit each other.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.listed = folder / "images.txt"
        self.names = {number: row[0] for number, row in read_table(self.listed, ("image id", "file name")).items()}
        if twice := len(self.names) - len(set(self.names.values())):
            raise XaibenchError(f"{self.listed} lists {twice} file names more than once; restore it from the archive")
        boxes = self.table("bounding_boxes.txt", ("image id", "x", "y", "width", "height"))
        self._boxes = {self.names[number]: row for number, row in boxes.items()}
        places = (folder / "segmentations", folder.parent / "segmentations")
        self.segmentations = next((place for place in places if place.is_dir()), None)

    def table(self, file: str, columns: tuple[str, ...]) -> dict[str, list[str]]:
        """The rows of a table by image id, for every image of `images.txt` and no other."""
        rows = read_table(self.folder / file, columns)
        if strange := rows.keys() ^ self.names.keys():
            image, here = min(strange), strange & rows.keys()
            problem = "which images.txt does not list" if image in here else "which images.txt lists, is missing"
            raise XaibenchError(f"{self.folder / file}: image {image}, {problem}; restore both from the archive")
        return rows

    def boxes(self, name: str, size: tuple[int, int]) -> np.ndarray:
        """(1, 4) float64: the box x0 y0 x1 y1 in a photo of (width, height) pixels."""
        return in_photo(self._box(name), size, [self._where(name)])

    def _box(self, name: str) -> np.ndarray:
        if name not in self._boxes:
            raise XaibenchError(f"{self.listed} has no photo {name}; its CUB_200_2011 is not complete")
        try:
            x, y, width, height = (float(text) for text in self._boxes[name])
        except ValueError:
            x = y = width = height = np.nan
        box = np.array([x, y, x + width, y + height])
        if not all(map(is_position, box)):
            raise XaibenchError(f"{self._where(name)} is {' '.join(self._boxes[name])}, not four numbers")
        return box[None]

    def _where(self, name: str) -> str:
        return f"{self.folder / 'bounding_boxes.txt'}: the box of {name}"

    def mask(self, name: str, size: tuple[int, int]) -> np.ndarray | None:
        """The pixels (height, width) bool that at least half of the annotators assigned to the bird; None without the
        segmentations."""
        path = self._mask_file(name)
        if path is None:
            return None
        try:
            with Image.open(path) as image:
                grey = image.convert("L")  # a few are stored with further channels
        except Exception as error:  # Pillow raises many kinds for a damaged file
            raise XaibenchError(f"mask {path} cannot be read as an image: {one_line(error)}") from error
        if grey.size != size:
            wide, high = grey.size
            raise XaibenchError(f"mask {path} is {wide} x {high} pixels, its photo {size[0]} x {size[1]}")
        return np.array(grey) >= AGREEMENT

    def fit(self, name: str, size: tuple[int, int]) -> bool:
        """Whether box and mask can be those of a photo of (width, height)."""
        path = self._mask_file(name)
        return contained(self._box(name), size) and (path is None or read_header(path).size == size)

    def source(self, name: str) -> bytes:
        """The source of a photo's box and mask, as bytes."""
        path = self._mask_file(name)
        return " ".join(self._boxes.get(name, ())).encode() + (read_bytes(path) if path else b"")

    def pieces(self) -> list[Piece]:
        """Its files, for `xaibench data check`."""
        there = self.segmentations
        masks = count_files(there, ".png") if there else None
        return [
            Piece("CUB's boxes", self.folder / "bounding_boxes.txt", len(self._boxes)),
            Piece("CUB's masks", there or self.folder / "segmentations", masks, optional=True),
        ]

    def _mask_file(self, name: str) -> Path | None:
        if self.segmentations is None:
            return None
        return self.segmentations / PurePosixPath(name).with_suffix(".png")


class CUB(Photos):
    """The birds of one split: train, val (a tenth of the published training images), trainval or test.

    root is the folder CUB_200_2011 or the one that holds it. Ids are the file names of `images.txt`. Raises
    XaibenchError for tables that do not fit each other, and for listed photos that do not exist.
    """

    name = "cub"
    knows = frozenset({"boxes", "masks", "instances", "objects"})

    def __init__(self, root: str | Path, geometry: Geometry, split: str = "test", exif: str = AUTO):
        super().__init__(root, geometry, exif)
        one_of("cub: split", split, SPLITS)
        self.birds = birds = Birds(find_folder(root, (FOLDER,), "images.txt"))
        named = read_table(birds.folder / "classes.txt", ("class id", "name"))
        self.classes = [row[0].partition(".")[2].replace("_", " ") or row[0] for row in named.values()]
        index = {number: position for position, number in enumerate(named)}
        labels = birds.table("image_class_labels.txt", ("image id", "class id"))
        training = birds.table("train_test_split.txt", ("image id", "is training image"))
        self._labels: dict[str, int] = {}
        for number, name in birds.names.items():
            if labels[number][0] not in index:
                where = birds.folder / "image_class_labels.txt"
                raise XaibenchError(f"{where}: image {number} has class {labels[number][0]}, not one of classes.txt")
            where = f"{birds.folder / 'train_test_split.txt'}: the column of image {number}"
            learnt = bool(whole(training[number][0], (0, 1), where))
            if (not learnt) if split == "test" else (learnt and in_split(name, split)):
                self._labels[name] = index[labels[number][0]]
        self.ids = list(self._labels)
        check_photos([self.path(image_id) for image_id in self.ids], birds.listed)

    def path(self, image_id: str) -> Path:
        """The file of a photo."""
        if image_id not in self._labels:
            raise XaibenchError(f"{self.birds.folder} has no photo {image_id!r} in this split")
        return self.birds.folder / "images" / PurePosixPath(image_id)

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The species of a photo."""
        return (self._labels[image_id],)

    def source(self, image_id: str) -> bytes:
        """The line of its box and the file of its mask."""
        return self.birds.source(image_id)

    def fits(self, image_id: str, size: tuple[int, int]) -> bool:
        """Whether the box lies in a photo of this size, and the mask has it."""
        return self.birds.fit(image_id, size)

    def annotate(self, image_id: str) -> Annotation:
        """The bird's box, and its mask if the segmentations exist."""
        placement, label = self.placement(image_id), self.label(image_id)
        size = placement.width, placement.height
        return one_object(placement, label, self.birds.boxes(image_id, size), self.birds.mask(image_id, size))

    def pieces(self) -> list[Piece]:
        """Photos, boxes and masks."""
        return [Piece("photos", self.birds.folder / "images", len(self.ids)), *self.birds.pieces()]
