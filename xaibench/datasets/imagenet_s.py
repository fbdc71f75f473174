"""ImageNet-S: photos of ImageNet with masks of classes. Gao et al., "Large-scale Unsupervised Semantic Segmentation",
TPAMI 2022, arXiv:2106.03149."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from xaibench.cards import Geometry
from xaibench.datasets.base import Annotation, Piece
from xaibench.datasets.exif import RAW, read_header
from xaibench.datasets.folder import ImageFolder
from xaibench.datasets.imagenet import check_folders, class_names, wordnet_ids
from xaibench.datasets.images import read_bytes
from xaibench.datasets.photos import AUTO, open_mask
from xaibench.datasets.reading import one_of, tight_boxes
from xaibench.errors import XaibenchError

SPLITS = ("train", "train-semi", "validation", "test")
IGNORED = 1000


class ImageNetS(ImageFolder):
    """A split of one of the three subsets; ids are `validation/WORDNET-ID/NAME.JPEG` and so on.

    root holds ImageNetS50 (or 300, 919), or is that folder. split: `train`, `train-semi`, `validation` or `test`; only
    `train-semi` and `validation` have published masks, in the folder `SPLIT-segmentation`.

    Classes are ImageNet's 1000, so that labels of its networks can be explained: a photo's label is its folder's, and
    the numbers of a mask are places in the sorted list of the subset's folders, from 1. Further classes of a photo are
    those that its mask shows, by size. A class has one box, that of its mask, whatever pieces the mask has; there are
    no instances. 919 merges five of ImageNet's classes into others (sunglasses into sunglass, tub into bathtub, laptop
    into notebook, projectile into missile, paper towel into toilet tissue). Raises XaibenchError for another number of
    class folders, and for masks with other numbers or of another size.
    """

    knows = frozenset({"boxes", "masks", "objects"})
    unannotated = RAW  # as ImageNet
    subset: ClassVar[int]

    def __init__(self, root: str | Path, geometry: Geometry, split: str = "validation", exif: str = AUTO):
        one_of(f"{self.name}: split", split, SPLITS)
        places = (Path(root) / f"ImageNetS{self.subset}", Path(root))
        folder = next((place for place in places if (place / split).is_dir()), None)
        if folder is None:
            raise XaibenchError(
                f"--data-root {root} has no folder {split}, nor ImageNetS{self.subset}/{split}; "
                f"`xaibench show dataset {self.name}` shows the layout"
            )
        super().__init__(folder, geometry, split, exif)
        self.split, self.masks = split, folder / f"{split}-segmentation"
        if split in ("train", "test"):
            self.knows = frozenset()
        elif not self.masks.is_dir():
            raise XaibenchError(f"data set {self.name}: {self.masks} is missing; it is an archive of its own")

    def _classes(self, top: Path, folders: list[str]) -> Sequence[str]:
        check_folders(top, folders)
        if len(folders) != self.subset:
            raise XaibenchError(
                f"{top} has {len(folders)} class folders, not {self.subset}: masks have places in the list of all; "
                "restore the others, which may be empty"
            )
        self.indices = [wordnet_ids().index(name) for name in folders]
        return class_names()

    def _folder_names(self) -> Sequence[str]:
        return wordnet_ids()

    def label(self, image_id: str) -> int:
        """The class of a photo's folder."""
        return super().labels(image_id)[0]

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The class of a photo's folder, and those that its mask shows, the largest first."""
        own = self.label(image_id)
        return (own,) if not self.knows else self._labels_of(own, self._numbers(image_id))

    def source(self, image_id: str) -> bytes:
        """The mask's file."""
        return read_bytes(self._mask_file(image_id)) if self.knows else b""

    def fits(self, image_id: str, size: tuple[int, int]) -> bool | None:
        """Whether the mask has this size."""
        return read_header(self._mask_file(image_id)).size == size if self.knows else None

    def annotate(self, image_id: str) -> Annotation:
        """The masks of classes and their boxes, as they are displayed."""
        if not self.knows:
            raise XaibenchError(f"data set {self.name}: no masks are published for its split {self.split}")
        place, numbers = self.placement(image_id), self._numbers(image_id)
        labels = self._labels_of(self.label(image_id), numbers)
        shown = [label for label in labels if (numbers == self._number(label)).any()]
        masks = np.array([numbers == self._number(label) for label in shown], dtype=bool).reshape(-1, *numbers.shape)
        displayed = place.masks(masks)
        return Annotation(
            labels=labels,
            boxes=place.boxes(tight_boxes(masks)),
            box_labels=np.array(shown, dtype=np.int64),
            instances=displayed[:0],
            objects={"annotated": displayed},
            masks=dict(zip(shown, displayed, strict=True)),
            ignored=place.mask(numbers == IGNORED),
        )

    def pieces(self) -> list[Piece]:
        """The class folders and the masks."""
        if not self.knows:
            return super().pieces()
        count = sum(self._mask_file(image_id).is_file() for image_id in self.ids)
        return [*super().pieces(), Piece("masks", self.masks, count or None)]

    def _number(self, label: int) -> int:
        """The number of a class in masks."""
        return self.indices.index(label) + 1

    def _labels_of(self, own: int, numbers: np.ndarray) -> tuple[int, ...]:
        found, counts = np.unique(numbers[(numbers > 0) & (numbers < IGNORED)], return_counts=True)
        largest = sorted(zip(-counts, found.tolist(), strict=True))
        return tuple(dict.fromkeys([own, *(self.indices[number - 1] for _, number in largest)]))

    def _mask_file(self, image_id: str) -> Path:
        return self.masks / PurePosixPath(image_id).relative_to(self.split).with_suffix(".png")

    def _numbers(self, image_id: str) -> np.ndarray:
        """(height, width) int32: 0 for what is no class of the subset, 1 on for classes, IGNORED."""
        place, path = self.placement(image_id), self._mask_file(image_id)
        return read_numbers(path, (place.width, place.height), self.subset)


def read_numbers(path: Path, size: tuple[int, int], classes: int) -> np.ndarray:
    """The numbers (height, width) int32 in a mask of ImageNet-S, which are red + 256 green of an RGB image.

    size is the photo's (width, height). Raises XaibenchError for a file that cannot be read, is no RGB image, has
    another size, or a number other than 0 to classes and IGNORED.
    """
    image = open_mask(path, size, ("RGB",), "ImageNet-S keeps numbers in red and green of RGB")
    red, green, blue = np.moveaxis(np.array(image).astype(np.int32), 2, 0)
    numbers = red + 256 * green
    if blue.any() or ((numbers > classes) & (numbers != IGNORED)).any():
        wrong = "blue pixels" if blue.any() else f"the number {numbers[(numbers > classes) & (numbers != IGNORED)][0]}"
        raise XaibenchError(f"mask {path} has {wrong}; ImageNet-S-{classes} has 0 to {classes}, and {IGNORED}")
    return numbers


class ImageNetS50(ImageNetS):
    """ImageNet-S with 50 classes."""

    name = "imagenet-s50"
    subset = 50


class ImageNetS300(ImageNetS):
    """ImageNet-S with 300 classes."""

    name = "imagenet-s300"
    subset = 300


class ImageNetS919(ImageNetS):
    """ImageNet-S with 919 classes."""

    name = "imagenet-s919"
    subset = 919
