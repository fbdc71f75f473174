"""Masks of instances as COCO writes them: lists of polygons, or runs of pixels down the columns (RLE)."""

from __future__ import annotations

import numpy as np

from xaibench.datasets.placement import is_position
from xaibench.errors import XaibenchError


def instance_mask(segmentation: object, size: tuple[int, int], where: str) -> np.ndarray:
    """(height, width) bool: the pixels of a segmentation; size is the photo's (width, height).

    Polygons are filled by pycocotools (the extra `coco`), as COCO's own evaluation does it; runs may be compressed or
    not. Raises XaibenchError, beginning with `where`, for what is neither or does not fit the photo.
    """
    if isinstance(segmentation, dict):
        return _from_runs(segmentation, size, where)
    if not isinstance(segmentation, list):
        raise XaibenchError(f"{where}: its segmentation is neither polygons nor runs")
    for polygon in segmentation:
        if not isinstance(polygon, list) or not all(map(is_position, polygon)):
            raise XaibenchError(f"{where}: a polygon of its segmentation is no list of numbers")
        if len(polygon) < 6 or len(polygon) % 2:
            raise XaibenchError(f"{where}: a polygon of {len(polygon)} numbers, not x and y of at least 3 points")
    try:
        from pycocotools import mask
    except ImportError:
        raise XaibenchError(f"{where} has polygons, which need pycocotools: pip install 'xaibench[coco]'") from None
    runs = mask.merge(mask.frPyObjects(segmentation, size[1], size[0]))
    return _from_runs({"size": list(runs["size"]), "counts": runs["counts"].decode()}, size, where)


def _from_runs(segmentation: dict, size: tuple[int, int], where: str) -> np.ndarray:
    # pycocotools reads memory that is not its own where runs end before the photo does, so this is done here.
    width, height = size
    shape, counts = segmentation.get("size"), segmentation.get("counts")
    if shape != [height, width]:
        raise XaibenchError(f"{where}: its segmentation has the size {shape}, its photo [{height}, {width}]")
    if isinstance(counts, str):
        counts = _uncompressed(counts)
    whole = isinstance(counts, list) and all(isinstance(n, int) and n >= 0 for n in counts)
    if not whole or sum(counts) != width * height:
        raise XaibenchError(f"{where}: the runs of its segmentation do not fill its photo of {width} x {height} pixels")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def _uncompressed(text: str) -> list[int] | None:
    """The runs in a compressed text, None where it is none: numbers of 5 bits a character, low bits first, the sixth
    bit is set if more follow, the highest bit of the last is the sign; from the fourth on they are differences to the
    run before the last."""
    counts, value, shift = [], 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64:
            return None
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (code & 16) << (shift - 4)
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value, shift = 0, 0
    return counts if shift == 0 else None
