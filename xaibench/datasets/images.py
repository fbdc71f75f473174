"""Reads photos, for all data sets in the same way, with errors that name the file and what to do.

Photos are converted to RGB by Pillow, as by torchvision's loaders, so that published numbers can be reproduced. Whether
they are turned by their EXIF orientation, which those loaders ignore, the data set decides; see `Photos`. A photo
without a faithful conversion to 8-bit RGB is refused.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from xaibench.cards import MIN_SIDE, Geometry
from xaibench.datasets.exif import RAW, read_header, turned
from xaibench.datasets.placement import Placement
from xaibench.errors import XaibenchError, one_line

EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
MAX_PIXELS = 178_956_970  # where Pillow itself begins to refuse
STILLS = ("MPO",)  # formats whose further pictures are other views of the first, as phones write them


def read_image(path: Path, way: str = RAW) -> Image.Image:
    """The photo in a file as RGB. way: `upright`, turned by its EXIF orientation, or `raw`, as it is stored.

    Grey, palette, CMYK and YCbCr are converted, an alpha channel that is opaque everywhere is dropped. Raises
    XaibenchError for a file that is missing, broken or truncated, for more than 8 bits a channel, transparent parts,
    several frames, more than MAX_PIXELS pixels, and for a shorter side below MIN_SIDE.
    """
    data = read_bytes(path)
    image = decode(data, path)
    return turned(image, read_header(path, data).turn(way))


def read_bytes(path: Path) -> bytes:
    """The content of a file; raises XaibenchError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise XaibenchError(f"{path} cannot be read: {error.strerror}") from error


def decode(data: bytes, path: Path) -> Image.Image:
    """The photo in the bytes of a file, as `read_image`, but as Pillow reads it; path is for the messages."""
    try:
        # Pillow warns of large photos, odd palettes and damaged EXIF data, none of which changes a pixel.
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
            if problem := _unfit(image):
                raise XaibenchError(f"{path} {problem}")
            if image.has_transparency_data and image.convert("RGBA").getextrema()[3][0] < 255:
                raise XaibenchError(f"{path} has transparent parts; flatten it onto a background")
            return image.convert("RGB")
    except (XaibenchError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise XaibenchError(f"{path} {_huge()}") from None
    except UnidentifiedImageError as error:
        reason = "it is empty" if not data else "its content is no known image format"
        raise XaibenchError(f"{path} cannot be read as an image: {reason}; restore or remove it") from error
    except Exception as error:  # Pillow raises many kinds for a damaged file
        reason = one_line(error)
        raise XaibenchError(f"{path} cannot be read as an image: {reason}; restore or remove it") from error


def displayed(image: Image.Image, geometry: Geometry) -> np.ndarray:
    """The displayed photo, uint8 (crop, crop, 3); see `Placement`."""
    return Placement(*image.size, geometry).image(image)


def _unfit(image: Image.Image) -> str | None:
    """The problem of an opened photo, found before its pixels are decoded; None if there is none."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        return _huge()
    if min(width, height) < MIN_SIDE:
        return f"is only {width} x {height} pixels; photos need {MIN_SIDE} on the shorter side"
    if _deep(image):
        return "has 16 bits a channel; convert it to 8-bit RGB"
    if image.mode not in EIGHT_BIT:
        return f"has the mode {image.mode}, which is no 8-bit RGB; convert it to 8-bit RGB"
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format not in STILLS:
        return f"has {frames} frames; save one of them as a still image"
    return None


def _deep(image: Image.Image) -> bool:
    """Whether channels have more than 8 bits in the file; Pillow reads a PNG of 3 x 16 bits as RGB of 8 bits."""
    for tile in image.tile:
        raw_mode = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if any(";16" in str(part) and not str(part).startswith("BGR") for part in raw_mode):  # BGR;16 is 5-6-5 bits
            return True
        if tile[0].startswith("ppm") and raw_mode[-1] > 255:
            return True
    return image.mode.startswith("I;16")


def _huge() -> str:
    return f"has more than {MAX_PIXELS // 10**6} million pixels; reduce it"
