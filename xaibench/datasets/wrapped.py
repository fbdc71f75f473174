"""The base of data sets that change another one: everything that a subclass does not change is passed through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from xaibench.datasets.base import Annotation, Dataset, Piece, Sample
from xaibench.datasets.loading import load_sample


class Wrapped(Dataset):
    """Passes every call on to another data set, and has its name, classes and ids."""

    def __init__(self, dataset: Dataset):
        self.dataset, self.name, self.classes, self.ids = dataset, dataset.name, dataset.classes, dataset.ids
        self.on_disk, self.knows = dataset.on_disk, dataset.knows

    def load(self, image_id: str) -> Sample:
        """The sample of an id."""
        return load_sample(self.dataset, image_id)

    def open(self, image_id: str) -> Image.Image:
        """The original photo, for training with random crops."""
        return self.dataset.open(image_id)

    def digest(self, image_id: str) -> str:
        """The content hash of an image's source."""
        return self.dataset.digest(image_id)

    def label(self, image_id: str) -> int:
        """The class index of an image."""
        return self.dataset.label(image_id)

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The classes of an image, its own label first."""
        return self.dataset.labels(image_id)

    def group(self, image_id: str) -> str:
        """The name of the group of images that an image belongs to."""
        return self.dataset.group(image_id)

    def exif_way(self, image_id: str) -> str:
        """How a photo with an EXIF orientation is shown."""
        return self.dataset.exif_way(image_id)

    def skipped_files(self) -> Mapping[str, Sequence[str]]:
        """The entries of folders that are left out."""
        return self.dataset.skipped_files()

    def pieces(self) -> list[Piece]:
        """The files and folders that the data set was read from."""
        return self.dataset.pieces()

    def annotate(self, image_id: str) -> Annotation:
        """The annotation of an image."""
        return self.dataset.annotate(image_id)

    def annotated(self, image_id: str, side: int) -> Annotation:
        """The annotation of an image of side x side pixels; only its labels where the data set has no annotations."""
        if self.dataset.knows - {"redraw"}:
            return self.dataset.annotate(image_id)
        boxes, none = np.zeros((0, 4), dtype=np.int64), np.zeros(0, dtype=np.int64)
        return Annotation(self.labels(image_id), boxes, none, np.zeros((0, side, side), dtype=bool))

    def draw(self, image_id: str, without: Iterable[str] = ()) -> np.ndarray:
        """The displayed image without some parts or objects."""
        return self.dataset.draw(image_id, without)

    def image_list(self, count: int | None = None) -> list[str]:
        """The first `count` ids of the data set's order."""
        return self.dataset.image_list(count)


class Some(Wrapped):
    """A data set of which only some images are there."""

    def __init__(self, dataset: Dataset, ids: Sequence[str]):
        super().__init__(dataset)
        self.ids = list(ids)
