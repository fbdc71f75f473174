"""Reading photos: one way for all data sets, with errors that name the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from xaibench.cards import Geometry
from xaibench.errors import XaibenchError

EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


def read_image(path: Path) -> Image.Image:
    """An RGB image; raises XaibenchError for a file that is missing, broken, truncated or not of 8 bits a channel."""
    try:
        with Image.open(path) as image:
            deep = any(";16" in str(tile) for tile in image.tile)  # Pillow calls a PNG of 3 x 16 bits RGB
            if deep or image.mode not in EIGHT_BIT:
                raise XaibenchError(
                    f"{path} has {'16 bits a channel' if deep else image.mode}; convert it to 8-bit RGB"
                )
            return image.convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise XaibenchError(f"{path} cannot be read as an image: {error}") from error


def displayed(image: Image.Image, geometry: Geometry) -> np.ndarray:
    """Shorter side to geometry.resize (bilinear, PIL), centre crop: uint8 (crop, crop, 3)."""
    from torchvision.transforms import functional as F

    resized = F.resize(image, geometry.resize, interpolation=F.InterpolationMode.BILINEAR)
    return np.asarray(F.center_crop(resized, [geometry.crop, geometry.crop]))
