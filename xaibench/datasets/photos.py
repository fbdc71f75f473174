"""The base of data sets of annotated photo files: loading, sizes, and digests that cover the annotations too."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from xaibench.cards import Geometry
from xaibench.datasets.base import Dataset, Sample
from xaibench.datasets.exif import RAW, UPRIGHT, WAYS, Header, read_header, turned
from xaibench.datasets.images import decode, displayed, read_bytes
from xaibench.datasets.placement import Placement
from xaibench.datasets.reading import one_of
from xaibench.errors import XaibenchError, one_line
from xaibench.hashing import content_hash

AUTO = "auto"


class UndecidedOrientation(XaibenchError):
    """Annotations that fit a photo both upright and as it is stored."""


class Photos(Dataset):
    """Photos in files, with annotations; a subclass provides their paths and labels.

    root is the folder of --data-root; geometry defines how photos are displayed. A subclass sets `classes` and `ids`.

    exif is the rule for photos with an EXIF orientation other than 1: `upright` turns them, `raw` shows them as they
    are stored, and `auto` shows each as its annotations fit it, and one without annotations according to `unannotated`.
    Where annotations fit both ways (of a square photo, or of one that is only mirrored), every use of the photo raises
    UndecidedOrientation.
    """

    on_disk = True
    unannotated: ClassVar[str] = UPRIGHT
    exif: str = AUTO
    root: Path
    geometry: Geometry

    def __init__(self, root: str | Path, geometry: Geometry, exif: str = AUTO):
        self.root, self.geometry = Path(root), geometry
        self.exif = one_of(f"{self.name}: exif", exif, (AUTO, *WAYS))

    @abstractmethod
    def path(self, image_id: str) -> Path:
        """The file of a photo; raises XaibenchError for an id that is not in `ids`."""

    @abstractmethod
    def labels(self, image_id: str) -> tuple[int, ...]:
        """The classes of a photo, its label first."""

    def source(self, image_id: str) -> bytes:
        """The source of a photo's annotations; part of its digest, so that a changed annotation is detected."""
        return b""

    def fits(self, image_id: str, size: tuple[int, int]) -> bool | None:
        """Whether the annotations of a photo can be those of a photo of (width, height); None where it has none."""
        return None

    def exif_way(self, image_id: str) -> str:
        """`upright` or `raw` for a photo with an EXIF orientation other than 1, "" for all others."""
        header = read_header(self.path(image_id))
        return "" if header.orientation == 1 else self._way(image_id, header)

    def label(self, image_id: str) -> int:
        """The label of a photo."""
        return self.labels(image_id)[0]

    def load(self, image_id: str) -> Sample:
        """The photo, displayed according to the geometry: image (crop, crop, 3) uint8."""
        path = self.path(image_id)
        data = read_bytes(path)  # once, so that the digest is that of the pixels even if the file is replaced meanwhile
        photo, turn = decode(data, path), self._turn(image_id, read_header(path, data))
        image = displayed(turned(photo, turn), self.geometry)
        return Sample(image_id, image, self.label(image_id), self._digest(data, image_id, turn))

    def open(self, image_id: str) -> Image.Image:
        """The original photo, a PIL image, for training with random crops."""
        path = self.path(image_id)
        data = read_bytes(path)
        return turned(decode(data, path), self._turn(image_id, read_header(path, data)))

    def digest(self, image_id: str) -> str:
        """The hash of the file's bytes, of the annotations' source, and of the turn if the photo is turned."""
        path = self.path(image_id)
        data = read_bytes(path)
        try:
            header = read_header(path, data)
        except XaibenchError:  # what is no image any more has a digest too
            header = Header((0, 0))
        return self._digest(data, image_id, self._turn(image_id, header))

    def placement(self, image_id: str) -> Placement:
        """Where the photo's pixels are in the displayed image, from its file's header; raises XaibenchError for a
        broken one."""
        header = read_header(self.path(image_id))
        return Placement(*header.shown(self._way(image_id, header)), self.geometry)

    def _digest(self, data: bytes, image_id: str, turn: int) -> str:
        mark = b"" if turn == 1 else f"\0turned by EXIF orientation {turn}".encode()
        return content_hash(data + self.source(image_id) + mark)

    def _turn(self, image_id: str, header: Header) -> int:
        return header.turn(self._way(image_id, header))

    def _way(self, image_id: str, header: Header) -> str:
        """How a photo is shown; raises XaibenchError where its annotations fit neither way, or both."""
        if header.orientation == 1:
            return RAW
        if self.exif != AUTO:
            return self.exif
        fits = {way: self.fits(image_id, header.shown(way)) for way in WAYS}
        if None in fits.values():
            return self.unannotated
        fitting = [way for way in WAYS if fits[way]]
        if len(fitting) == 1:
            return fitting[0]
        stored = f"{self.path(image_id)} has the EXIF orientation {header.orientation}, and its annotations fit"
        if fitting:
            raise UndecidedOrientation(
                f"{stored} it both upright and as it is stored; say which by --dataset-option exif=upright|raw"
            )
        (w, h), (wide, high) = header.shown(UPRIGHT), header.shown(RAW)
        raise XaibenchError(f"{stored} neither {w} x {h} pixels (upright) nor {wide} x {high} (as stored); restore it")


def turned_since(dataset: Dataset, image_id: str) -> str:
    """For a message about an image that is not the stored one: the reason that a photo turned upright may have."""
    try:
        upright = dataset.exif_way(image_id) == UPRIGHT
    except XaibenchError:  # it is no image any more
        return ""
    return " (it is turned upright by its EXIF orientation, as earlier versions did not do)" if upright else ""


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
