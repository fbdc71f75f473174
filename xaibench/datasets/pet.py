"""Oxford-IIIT Pet: photos of cats and dogs of 37 breeds with masks of the pet; its outline is undecided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from xaibench.cards import Geometry
from xaibench.datasets.base import Annotation, Piece
from xaibench.datasets.exif import read_header
from xaibench.datasets.images import read_bytes
from xaibench.datasets.photos import AUTO, Photos, read_labels
from xaibench.datasets.reading import (
    SPLITS,
    check_photos,
    fetch,
    find_folder,
    in_split,
    one_object,
    one_of,
    read_table,
    tight_boxes,
    whole,
)
from xaibench.datasets.walk import count_files
from xaibench.errors import XaibenchError

FOLDER = "oxford-iiit-pet"
COLUMNS = ("name", "class id", "species", "breed id")
PET, BACKGROUND, UNDECIDED = 1, 2, 3  # the values of a trimap
SPECIES = ("cat", "dog")


class Pet(Photos):
    """The photos of one split: train, val (a tenth of the published trainval), trainval or test.

    root holds `images/` and `annotations/`, or `oxford-iiit-pet/` as torchvision makes it. task: the class is the
    `breed` or the `species`. Ids are the names of the lists, such as `Abyssinian_100`. Raises XaibenchError for lists
    that disagree about a breed, and for listed photos that do not exist.
    """

    name = "pet"
    knows = frozenset({"boxes", "masks", "instances", "objects"})

    def __init__(
        self, root: str | Path, geometry: Geometry, split: str = "test", task: str = "breed", exif: str = AUTO
    ):
        super().__init__(root, geometry, exif)
        one_of("pet: split", split, SPLITS)
        one_of("pet: task", task, ("breed", "species"))
        file = "test.txt" if split == "test" else "trainval.txt"
        self.folder = find_folder(root, (FOLDER,), f"annotations/{file}")
        self._listed = self.folder / "annotations" / file
        rows = read_table(self._listed, COLUMNS)
        breeds = [_breed(name, row, self._listed) for name, row in rows.items()]
        self.classes = SPECIES if task == "species" else _classes(self._other(file), breeds)
        self._labels = {
            name: breed if task == "breed" else whole(row[1], (1, 2), f"{self._listed}: the species of {name}") - 1
            for (name, row), (breed, _) in zip(rows.items(), breeds, strict=True)
            if split == "test" or in_split(name, split)
        }
        self.ids = list(self._labels)
        check_photos([self.path(image_id) for image_id in self.ids], self._listed)

    @classmethod
    def download(cls, root: Path, **options: Any) -> None:
        """Fetches all splits by torchvision into `root/oxford-iiit-pet`."""
        from torchvision.datasets import OxfordIIITPet

        fetch(cls.name, lambda: OxfordIIITPet(root, download=True))

    def path(self, image_id: str) -> Path:
        """The file of a photo."""
        if image_id not in self._labels:
            raise XaibenchError(f"{self._listed} has no photo {image_id!r} in this split")
        return self.folder / "images" / f"{image_id}.jpg"

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The breed, or the species."""
        return (self._labels[image_id],)

    def source(self, image_id: str) -> bytes:
        """The file of its trimap."""
        return read_bytes(self._trimap(image_id))

    def fits(self, image_id: str, size: tuple[int, int]) -> bool:
        """Whether the trimap has this size."""
        return read_header(self._trimap(image_id)).size == size

    def annotate(self, image_id: str) -> Annotation:
        """The pet's pixels and their tight box; the trimap's outline is undecided, and in neither."""
        placement, path = self.placement(image_id), self._trimap(image_id)
        trimap = read_labels(path, (placement.width, placement.height), "trimap")
        strange = set(np.unique(trimap).tolist()) - {PET, BACKGROUND, UNDECIDED}
        if strange:
            raise XaibenchError(f"trimap {path} has the value {min(strange)}; 1 is the pet, 2 background, 3 undecided")
        mask = trimap == PET
        ignored = placement.mask(trimap == UNDECIDED)
        boxes = tight_boxes(mask[None]) if mask.any() else np.zeros((0, 4))
        return one_object(placement, self.label(image_id), boxes, mask if len(boxes) else None, ignored=ignored)

    def pieces(self) -> list[Piece]:
        """Photos and trimaps."""
        trimaps = self.folder / "annotations" / "trimaps"
        count = count_files(trimaps, ".png")
        return [Piece("photos", self.folder / "images", len(self.ids)), Piece("trimaps", trimaps, count)]

    def _trimap(self, image_id: str) -> Path:
        return self.folder / "annotations" / "trimaps" / f"{image_id}.png"

    def _other(self, file: str) -> list[tuple[int, str]]:
        """The breeds of the other list, so that both splits have the same classes."""
        path = self._listed.with_name("trainval.txt" if file == "test.txt" else "test.txt")
        if not path.is_file():
            return []
        return [_breed(name, row, path) for name, row in read_table(path, COLUMNS).items()]


def _breed(name: str, row: list[str], path: Path) -> tuple[int, str]:
    """The class index and the breed's name of a row."""
    index = whole(row[0], range(1, 1000), f"{path}: the class of {name}") - 1
    return index, " ".join(word.title() for word in name.rpartition("_")[0].split("_"))


def _classes(*lists: list[tuple[int, str]]) -> list[str]:
    """The names of the breeds by class index; raises XaibenchError where a class has two names, or none."""
    names: dict[int, str] = {}
    for index, name in (pair for pairs in lists for pair in pairs):
        if names.setdefault(index, name) != name:
            raise XaibenchError(f"pet: class {index + 1} is {names[index]} in one line of the lists, {name} in another")
    for index in range(max(names) + 1):
        if index not in names:
            raise XaibenchError(f"pet: no line of the lists has class {index + 1}, but one has {max(names) + 1}")
    return [names[index] for index in range(len(names))]
