"""20 photos of ImageNet that the Python package foolbox brings (extra `real`); the package is not imported."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from xaibench.cards import Geometry
from xaibench.datasets.base import Piece
from xaibench.datasets.exif import RAW
from xaibench.datasets.imagenet import class_names
from xaibench.datasets.photos import Photos
from xaibench.errors import XaibenchError
from xaibench.hashing import digest, sha256_of
from xaibench.importing import package_file

NAME = re.compile(r"imagenet_(\d\d)_(\d{1,3})\.jpg")
"""The name of a photo: its number, and the index of its class."""
PHOTOS = "125835b17c83fd12"  # digest of the SHA-256 of each photo by its name, in foolbox 3.3.4


class ImageNet20(Photos):
    """Photos `imagenet_NUMBER_CLASS.jpg` in the folder `data` of the package foolbox, with ImageNet's 1000 classes; ids
    are the names of the files.

    Raises XaibenchError where the package is not installed, or has other photos, and for any split but `test`: there is
    nothing to train on.
    """

    name = "imagenet20"
    unannotated = RAW  # as ImageNet's are

    def __init__(self, geometry: Geometry, split: str = "test"):
        if split != "test":
            raise XaibenchError(
                f"data set {self.name} has 20 photos to evaluate on, and none to train on (split {split}); train on "
                "--dataset imagenet or imagefolder"
            )
        what = f"the photos of data set {self.name}"
        super().__init__(package_file("foolbox", "data", what, "real", folder=True), geometry)
        files = {path.name: path for path in sorted(self.root.iterdir()) if path.is_file()}
        named = {name: found for name in files if (found := NAME.fullmatch(name))}
        if digest({name: sha256_of(files[name]) for name in named}) != PHOTOS:
            raise XaibenchError(
                f"{self.root} has other photos imagenet_NUMBER_CLASS.jpg than those of data set {self.name}; take away "
                "a folder foolbox that is not the package, or install it again: python -m pip install "
                "--force-reinstall foolbox==3.3.4"
            )
        self._labels = {name: int(found[2]) for name, found in named.items()}
        self.classes: Sequence[str] = class_names()
        self.ids = list(self._labels)

    def path(self, image_id: str) -> Path:
        """The file of a photo."""
        if image_id not in self._labels:
            raise XaibenchError(f"data set {self.name} has no photo {image_id!r}")
        return self.root / image_id

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The class index of a photo, which is in its name."""
        return (self._labels[image_id],)

    def pieces(self) -> list[Piece]:
        """The photos."""
        return [Piece("photos imagenet_NUMBER_CLASS.jpg", self.root, len(self.ids))]
