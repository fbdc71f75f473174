"""The base of data sets of annotated photo files: loading, sizes, and digests that cover the annotations too."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from pathlib import Path

import numpy as np
from PIL import Image

from xaibench.cards import Geometry
from xaibench.datasets.base import Dataset, Sample
from xaibench.datasets.images import decode, displayed, read_bytes, read_image
from xaibench.datasets.placement import Placement
from xaibench.errors import XaibenchError, one_line
from xaibench.hashing import content_hash


class Photos(Dataset):
    """Photos in files, with annotations; a subclass provides their paths and labels.

    root is the folder of --data-root; geometry defines how photos are displayed. A subclass sets `classes` and `ids`.
    """

    on_disk = True
    root: Path
    geometry: Geometry

    @abstractmethod
    def path(self, image_id: str) -> Path:
        """The file of a photo; raises XaibenchError for an id that is not in `ids`."""

    @abstractmethod
    def labels(self, image_id: str) -> tuple[int, ...]:
        """The classes of a photo, its label first."""

    def source(self, image_id: str) -> bytes:
        """The source of a photo's annotations; part of its digest, so that a changed annotation is detected."""
        return b""

    def label(self, image_id: str) -> int:
        """The label of a photo."""
        return self.labels(image_id)[0]

    def load(self, image_id: str) -> Sample:
        """The photo, displayed according to the geometry: image (crop, crop, 3) uint8."""
        path = self.path(image_id)
        data = read_bytes(
            path
        )  # read once, so that the digest is that of the pixels even if the file is replaced meanwhile
        image = displayed(decode(data, path), self.geometry)
        return Sample(image_id, image, self.label(image_id), self._digest(data, image_id))

    def open(self, image_id: str) -> Image.Image:
        """The original photo, a PIL image, for training with random crops."""
        return read_image(self.path(image_id))

    def digest(self, image_id: str) -> str:
        """The hash of the file's bytes and of the annotations' source."""
        return self._digest(read_bytes(self.path(image_id)), image_id)

    def placement(self, image_id: str) -> Placement:
        """Where the photo's pixels are in the displayed image, from its file's header; raises XaibenchError for a
        broken one."""
        path = self.path(image_id)
        try:
            with Image.open(path) as image:
                return Placement(*image.size, self.geometry)
        except Exception as error:  # Pillow raises many kinds for a damaged file
            raise XaibenchError(f"{path} cannot be read as an image: {one_line(error)}") from error

    def _digest(self, data: bytes, image_id: str) -> str:
        source = self.source(image_id)
        return content_hash(data + source) if source else content_hash(data)


def read_labels(path: Path, size: tuple[int, int], what: str = "mask") -> np.ndarray:
    """The labels of pixels in a mask file, (height, width) int32: palette indices, or grey values of 8 or 16 bits.

    size is the photo's (width, height). Raises XaibenchError where the file cannot be read, is no such image, or has
    another size.
    """
    modes = ("P", "L", "1", "I", "I;16", "I;16B", "I;16L")
    image = open_mask(path, size, modes, "labels are palette indices or grey values", what)
    return np.array(image).astype(np.int32)


def open_mask(path: Path, size: tuple[int, int], modes: Collection[str], rule: str, what: str = "mask") -> Image.Image:
    """The image in a mask file of a photo of (width, height); rule describes, for messages, which of Pillow's modes it
    may have.

    Raises XaibenchError where the file cannot be read, has another mode or another size.
    """
    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:  # Pillow raises many kinds for a damaged file
        raise XaibenchError(f"{what} {path} cannot be read as an image: {one_line(error)}") from error
    if image.mode not in modes:
        raise XaibenchError(f"{what} {path} has the mode {image.mode}; {rule}")
    if image.size != size:
        wide, high = image.size
        raise XaibenchError(f"{what} {path} is {wide} x {high} pixels, its photo {size[0]} x {size[1]}")
    return image
