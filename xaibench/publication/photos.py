"""Photos of a board folder as pixels alone: what their files say besides, such as EXIF, never goes on."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from xaibench.errors import XaibenchError, one_line
from xaibench.files import check_regular


def read_photo(path: Path) -> np.ndarray:
    """A photo (H, W, 3) uint8 without anything that its file says besides; XaibenchError where it is none."""
    try:
        check_regular(path)
        with Image.open(path) as opened:
            return np.asarray(opened.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise XaibenchError(
            f"{path} is no image that can be shown ({one_line(error)}); publish the folder anew"
        ) from error


def png(pixels: np.ndarray) -> bytes:
    """Pixels (H, W, 3) uint8 as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
