"""The EXIF orientation of photos: how a file asks viewers to turn its pixels, and the pixels turned.

Tag 274 of EXIF has eight values: 1 is upright; 2, 4, 5 and 7 mirror; 5 to 8 swap width and height.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image

from xaibench.errors import XaibenchError, one_line

UPRIGHT, RAW = "upright", "raw"
WAYS = (UPRIGHT, RAW)
TAG = 274
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BACK = {6: 8, 8: 6}  # all others undo themselves
PNG_TEXTS = (b"Raw profile type", b"XML:com.adobe.xmp")  # how texts of a PNG begin that may hold an orientation


@dataclass(frozen=True)
class Header:
    """What a photo's file says of itself: size (width, height) in which Pillow reads it; orientation, 1 to 8;
    turned: whether Pillow has turned the pixels upright already when it gives them, as it does for TIFF."""

    size: tuple[int, int]
    orientation: int = 1
    turned: bool = False

    def turn(self, way: str) -> int:
        """The orientation by which pixels as Pillow reads them are turned, so that they are upright or raw; 1: not."""
        if way == UPRIGHT:
            return 1 if self.turned else self.orientation
        return BACK.get(self.orientation, self.orientation) if self.turned else 1

    def shown(self, way: str) -> tuple[int, int]:
        """(width, height) of the photo upright or raw."""
        return self.size if self.turn(way) < 5 else self.size[::-1]


def read_header(path: Path, data: bytes | None = None) -> Header:
    """The header of a photo's file; data are its bytes where they were read already.

    An orientation that is damaged or none of 1 to 8 counts as 1, as viewers take it. Raises XaibenchError for a file
    that cannot be read as an image.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path if data is None else io.BytesIO(data)) as image:
            orientation = _orientation(image)
            turned = image.format == "TIFF"
            if turned and orientation != 1:
                image.load()  # versions of Pillow differ in whether the size before that is turned
            return Header(image.size, orientation, turned)
    except Exception as error:  # Pillow raises many kinds for a damaged file
        raise XaibenchError(f"{path} cannot be read as an image: {one_line(error)}") from error


def turned(image: Image.Image, turn: int) -> Image.Image:
    """An image turned and mirrored as an orientation asks for; 1 leaves it."""
    return image if turn == 1 else image.transpose(TURNS[turn])


def _orientation(image: Image.Image) -> int:
    try:
        if image.format == "PNG" and not _png_has_exif(image.fp):
            return 1  # Pillow would decode all of it to find that out
        value = image.getexif().get(TAG, 1)
        return int(value) if value in TURNS else 1
    except Exception:  # damaged EXIF, of which Pillow raises many kinds
        return 1


def _png_has_exif(file: IO[bytes]) -> bool:
    """Whether a chunk of a PNG, which may follow its pixels, can hold an orientation; the file's position is kept."""
    position = file.tell()
    file.seek(8)
    try:
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            text = file.read(min(length, 20)) if kind in (b"tEXt", b"zTXt", b"iTXt") else b""
            if kind == b"eXIf" or text.startswith(PNG_TEXTS):
                return True
            file.seek(length - len(text) + 4, 1)
        return False
    finally:
        file.seek(position)
