"""FunnyBirds: drawn birds of 50 classes with maps of their parts, and every test image again without each part.

Hesse, Schaub-Meyer, Roth, ICCV 2023.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from xaibench.cards import Geometry
from xaibench.datasets.base import Annotation, Piece
from xaibench.datasets.exif import RAW, read_header
from xaibench.datasets.images import displayed, read_bytes, read_image
from xaibench.datasets.photos import AUTO, Photos
from xaibench.datasets.reading import (
    SPLITS,
    check_photos,
    find_folder,
    in_split,
    one_object,
    one_of,
    read_text,
    tight_boxes,
)
from xaibench.datasets.walk import count_files
from xaibench.errors import XaibenchError, one_line
from xaibench.parsing import parse_json

FOLDER = "FunnyBirds"
COLOURS = {  # of a part map; both eyes, feet and wings are one part
    (255, 255, 253): "eye",
    (255, 255, 254): "eye",
    (255, 255, 0): "beak",
    (255, 0, 1): "foot",
    (255, 0, 2): "foot",
    (0, 255, 1): "wing",
    (0, 255, 2): "wing",
    (0, 0, 255): "tail",
}
BODY = (170, 170, 170)
PARTS = ("beak", "eye", "foot", "tail", "wing")


class FunnyBirds(Photos):
    """The birds of one split: train, val (a tenth of the published training images), trainval or test.

    root is the folder FunnyBirds or the one that holds it. Ids are the images' paths in it, such as
    `test/0/000000.png`; class k is named `bird k`. Raises XaibenchError where its JSON files are not as published, and
    for listed images that do not exist.
    """

    name = "funnybirds"
    knows = frozenset({"boxes", "masks", "instances", "objects", "parts", "redraw"})

    def __init__(self, root: str | Path, geometry: Geometry, split: str = "test", exif: str = AUTO):
        super().__init__(root, geometry, exif)
        one_of("funnybirds: split", split, SPLITS)
        self.folder = find_folder(root, (FOLDER,), "classes.json")
        self.mode = "test" if split == "test" else "train"
        kinds = _entries(self.folder / "classes.json", 10**6)
        if [kind["class_idx"] for kind in kinds] != list(range(len(kinds))):
            raise XaibenchError(f"{self.folder / 'classes.json'}: class_idx does not count from 0; restore the file")
        self.classes = [f"bird {number}" for number in range(len(kinds))]
        listed = self.folder / f"dataset_{self.mode}.json"
        ids = {
            f"{self.mode}/{entry['class_idx']}/{number:06d}.png": entry["class_idx"]
            for number, entry in enumerate(_entries(listed, len(kinds)))
        }
        self._labels = {i: label for i, label in ids.items() if self.mode == "test" or in_split(i, split)}
        self.ids = list(self._labels)
        check_photos([self.path(image_id) for image_id in self.ids], listed)

    def path(self, image_id: str) -> Path:
        """The file of an image."""
        if image_id not in self._labels:
            raise XaibenchError(f"{self.folder} has no image {image_id!r} in this split")
        return self.folder / PurePosixPath(image_id)

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The class of a bird."""
        return (self._labels[image_id],)

    def source(self, image_id: str) -> bytes:
        """The part map, and the images without a part that are there."""
        files = [self._part_map(image_id), *(self._redrawn(image_id, [part]) for part in PARTS)]
        return b"".join(read_bytes(path) for path in files if path.is_file())

    def fits(self, image_id: str, size: tuple[int, int]) -> bool | None:
        """Whether the part map has this size."""
        path = self._part_map(image_id)
        return read_header(path).size == size if path.is_file() else None

    def annotate(self, image_id: str) -> Annotation:
        """The visible parts (beak, eye, foot, tail, wing), and the bird: these and its body, with their tight box."""
        placement, path = self.placement(image_id), self._part_map(image_id)
        colours = _colours(path, (placement.width, placement.height))
        parts = {part: np.zeros(colours.shape[:2], dtype=bool) for part in PARTS}
        for colour, part in COLOURS.items():
            parts[part] |= (colours == colour).all(2)
        bird = np.logical_or.reduce([(colours == BODY).all(2), *parts.values()])
        if not bird.any():
            raise XaibenchError(f"part map {path} has none of the colours of parts; restore it from the archive")
        visible = {part: placement.mask(mask) for part, mask in parts.items() if mask.any()}
        return one_object(placement, self.label(image_id), tight_boxes(bird[None]), bird, parts=visible)

    def draw(self, image_id: str, without: Iterable[str] = ()) -> np.ndarray:
        """The displayed image (crop, crop, 3) uint8 without some parts, from `test_interventions`.

        Raises XaibenchError for a part that birds do not have, and where that image does not exist, as for training
        images.
        """
        names = (without,) if isinstance(without, str) else without
        removed = {one_of("funnybirds: part", name, PARTS) for name in names}
        if not removed:
            return self.load(image_id).image
        original, path = self.placement(image_id), self._redrawn(image_id, removed)
        if not path.is_file():
            raise XaibenchError(f"{image_id} without {' and '.join(sorted(removed))} does not exist: {path}")
        image = read_image(path, self.exif_way(image_id) or RAW)
        if image.size != (original.width, original.height):
            wide, high = image.size
            raise XaibenchError(f"{path} is {wide} x {high} pixels, {image_id} {original.width} x {original.height}")
        return displayed(image, self.geometry)

    def pieces(self) -> list[Piece]:
        """Images, part maps and images without parts."""
        found = [Piece("images", self.folder / self.mode, len(self.ids))]
        for what, folder in (("part maps", "part_map"), ("images without parts", "interventions")):
            there = self.folder / f"{self.mode}_{folder}"
            found.append(Piece(what, there, count_files(there, ".png"), optional=True))
        return found

    def _part_map(self, image_id: str) -> Path:
        self.path(image_id)
        _, label, file = image_id.split("/")
        return self.folder / f"{self.mode}_part_map" / label / file

    def _redrawn(self, image_id: str, removed: Iterable[str]) -> Path:
        """The file without some parts: it is named by the parts that are left, in alphabetical order."""
        _, label, file = image_id.split("/")
        left = "_".join(sorted(set(PARTS) - set(removed)))
        return self.folder / f"{self.mode}_interventions" / label / file.removesuffix(".png") / f"body_{left}.png"


def _entries(path: Path, classes: int) -> list[dict[str, Any]]:
    """The entries of a JSON file, each with a `class_idx` below the number of classes."""
    try:
        entries = parse_json(read_text(path))
    except ValueError as error:
        raise XaibenchError(f"{path} is no JSON: {one_line(error)}; restore it from the archive") from error
    if not isinstance(entries, list) or not entries:
        raise XaibenchError(f"{path} is no list of entries with a class_idx; restore it from the archive")
    for number, entry in enumerate(entries):
        label = entry.get("class_idx") if isinstance(entry, dict) else None
        if type(label) is not int or not 0 <= label < classes:
            raise XaibenchError(f"{path}: entry {number} has the class_idx {label!r}, not one of classes.json")
    return entries


def _colours(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The colours (height, width, 3) uint8 of a part map; its opacity has no meaning."""
    try:
        with Image.open(path) as image:
            colours = image.convert("RGB")
    except Exception as error:  # Pillow raises many kinds for a damaged file
        raise XaibenchError(f"part map {path} cannot be read as an image: {one_line(error)}") from error
    if colours.size != size:
        wide, high = colours.size
        raise XaibenchError(f"part map {path} is {wide} x {high} pixels, its image {size[0]} x {size[1]}")
    return np.array(colours)
