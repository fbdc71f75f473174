"""Photos with a COCO JSON: MS COCO 2014 and 2017 as they are published, and any folder with such a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np

from xaibench.cards import Geometry
from xaibench.datasets.annotated import check_files, check_size, classes_by_area, contained, in_photo
from xaibench.datasets.base import Annotation, Piece
from xaibench.datasets.coco_json import CocoFile, Entry, photo_size, read_coco
from xaibench.datasets.coco_masks import instance_mask
from xaibench.datasets.photos import AUTO, Photos
from xaibench.datasets.placement import Placement
from xaibench.datasets.reading import one_of
from xaibench.datasets.walk import is_hidden
from xaibench.errors import XaibenchError
from xaibench.seeds import derive

VALIDATION = 10  # one in so many photos of train2014 is for validation


class CocoPhotos(Photos):
    """Photos of a COCO JSON that have an object; a subclass provides the paths of the file and of the photos.

    Classes are the categories in order of their ids, which have gaps, so class 0 of COCO is category 1, person. Photos
    without an object are left out and counted in `pieces`, as are boxes without area. Boxes and masks are kept as
    published, also where they disagree: boxes are `bbox`, masks the `segmentation`. crowd: whether groups that are
    annotated as one, with `iscrowd`, are kept (`keep`, as Rao et al. 2023 do) or treated as if they were not there
    (`drop`). The label of a photo is the class whose boxes cover most of it; the level of `objects` is `annotated`.

    A box may reach one pixel beyond its photo and is cut off there. A photo whose annotations all lack a segmentation
    has boxes only. Raises XaibenchError that names the file for anything that does not fit.
    """

    knows = frozenset({"boxes", "masks", "instances", "objects"})

    def _read(self, file: Path, folder: Path, prefix: str, crowd: str) -> None:
        """Reads a file and finds its photos in a folder; ids are their file names after the prefix."""
        one_of(f"{self.name}: crowd", crowd, ("keep", "drop"))
        self.file: CocoFile = read_coco(file, crowd == "keep")
        self.classes, self.folder = self.file.categories, folder
        self._photos = {f"{prefix}{n}": p for n, p in self.file.photos.items() if p["id"] in self.file.instances}
        if not self._photos:
            raise XaibenchError(f"data set {self.name}: no photo of {file} has an object")
        self._keep(list(self._photos))
        check_files([self.path(image_id) for image_id in self.ids], file)

    def _keep(self, ids: list[str]) -> None:
        self._photos = {image_id: self._photos[image_id] for image_id in ids}
        self.ids = ids

    def path(self, image_id: str) -> Path:
        """The file of a photo."""
        return self.folder / self._photo(image_id)["file_name"]

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The classes of a photo, the one whose boxes cover most of it first, of equals the one of lower index."""
        found = self._instances(image_id)
        return classes_by_area(self.file.boxes(found), self.file.labels(found))

    def source(self, image_id: str) -> bytes:
        """The entries of the file about a photo."""
        return json.dumps([self._photo(image_id), self._instances(image_id)], sort_keys=True).encode()

    def fits(self, image_id: str, size: tuple[int, int]) -> bool:
        """Whether a photo of this size is that of the file, and holds the boxes and has the size of the runs."""
        found, listed = self._instances(image_id), photo_size(self._photo(image_id))
        masks = [entry["segmentation"] for entry in found if isinstance(entry.get("segmentation"), dict)]
        same = listed in (None, size) and contained(self.file.boxes(found), size)
        return same and all(mask.get("size") == [size[1], size[0]] for mask in masks)

    def annotate(self, image_id: str) -> Annotation:
        """Boxes and masks of the instances, as they are displayed."""
        found, place = self._instances(image_id), self.placement(image_id)
        size = place.width, place.height
        check_size(self.path(image_id), size, photo_size(self._photo(image_id)), self.file.path)
        names = [f"{self.file.path}: annotation {entry['id']}" for entry in found]
        instances = self._masks(found, names, place)
        return Annotation(
            labels=self.labels(image_id),
            boxes=place.boxes(in_photo(self.file.boxes(found), size, names)),
            box_labels=self.file.labels(found),
            instances=instances,
            objects={"annotated": instances},
        )

    def pieces(self) -> list[Piece]:
        """The file, the photos, and how much of the file is left out."""
        without, path = len(self.file.photos) - len(self.file.instances), self.file.path
        found = [
            Piece("instances", path, sum(map(len, self.file.instances.values()))),
            Piece("photos with objects", self.folder, len(self.ids)),
        ]
        counts = (("photos left out, without objects", without), ("boxes left out, without area", self.file.empty))
        return found + [Piece(what, path, count, optional=True) for what, count in counts if count]

    def _masks(self, found: list[Entry], names: list[str], place: Placement) -> np.ndarray:
        """The masks of all instances, or none where none is published."""
        given = [bool(entry.get("segmentation")) for entry in found]
        if any(given) and not all(given):
            name = names[given.index(False)]
            raise XaibenchError(f"{name} has no segmentation, as others of its photo have; give it one or take it out")
        wide, high = place.width, place.height
        pairs = zip(found if all(given) else [], names, strict=False)
        masks = [instance_mask(entry["segmentation"], (wide, high), name) for entry, name in pairs]
        return place.masks(np.array(masks, dtype=bool).reshape(-1, high, wide))

    def _photo(self, image_id: str) -> Entry:
        if image_id not in self._photos:
            raise XaibenchError(f"{self.file.path} has no photo {image_id!r} with an object")
        return self._photos[image_id]

    def _instances(self, image_id: str) -> list[Entry]:
        return self.file.instances[self._photo(image_id)["id"]]


class CocoJson(CocoPhotos):
    """Any folder with a COCO JSON; annotations is its path, images the folder of its photos ("": root itself), both
    below root. Ids are paths of photos below root."""

    name = "coco-json"

    def __init__(
        self,
        root: str | Path,
        geometry: Geometry,
        annotations: str = "annotations/instances.json",
        images: str = "images",
        crowd: str = "keep",
        exif: str = AUTO,
    ):
        super().__init__(root, geometry, exif)
        file, folder = self.root / annotations, self.root / images
        if not file.is_file():
            found = (path.relative_to(self.root) for path in self.root.glob("**/*.json"))
            there = sorted(path.as_posix() for path in found if not any(map(is_hidden, path.parts)))[:3]
            hint = f"there is {', '.join(there)}; name it" if there else "name the file"
            raise XaibenchError(f"{file} is missing; {hint} by --dataset-option annotations=FILE")
        if not folder.is_dir():
            raise XaibenchError(f"{folder} is no folder; name that of the photos by --dataset-option images=FOLDER")
        self._read(file, folder, f"{images.strip('/')}/" if images.strip("/") else "", crowd)


class Coco(CocoPhotos):
    """MS COCO of one year in its published layout; ids are `val2017/NAME.jpg` and so on.

    root holds annotations/instances_{train,val}20XX.json, and train20XX/ and val20XX/, which may be in images/. split
    is one of `splits`: those that are published (2017), or those of Rao et al. 2023 (2014), who test on val2014 and
    split train2014 into 9 tenths to learn from and a tenth for validation. Which photos are in it is not published;
    here a hash of each id draws them.
    """

    year: ClassVar[int]
    splits: ClassVar[dict[str, str]]

    def __init__(self, root: str | Path, geometry: Geometry, split: str = "val", crowd: str = "keep", exif: str = AUTO):
        super().__init__(root, geometry, exif)
        one_of(f"{self.name}: split", split, list(self.splits))
        part = f"{self.splits[split]}{self.year}"
        file = self.root / "annotations" / f"instances_{part}.json"
        folder = next((p for p in (self.root / part, self.root / "images" / part) if p.is_dir()), None)
        for missing, what in ((not file.is_file(), file), (folder is None, f"{self.root / part}/")):
            if missing:
                hint = f"`xaibench show dataset {self.name}` shows the layout"
                raise XaibenchError(f"data set {self.name}: {what} is missing; {hint}")
        self._read(file, folder, f"{part}/", crowd)
        if list(self.splits.values()).count(self.splits[split]) > 1:
            drawn = sorted(self.ids, key=lambda image_id: derive(0, "validation", image_id))
            held_out = set(drawn[: -(-len(drawn) // VALIDATION)])
            self._keep([image_id for image_id in self.ids if (image_id in held_out) == (split == "val")])


class Coco2014(Coco):
    """MS COCO 2014 with the splits of Rao et al. 2023."""

    name = "coco2014"
    year = 2014
    splits: ClassVar = {"train": "train", "val": "train", "test": "val"}


class Coco2017(Coco):
    """MS COCO 2017."""

    name = "coco2017"
    year = 2017
    splits: ClassVar = {"train": "train", "val": "val"}
