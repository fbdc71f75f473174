"""Masks as run lengths, and back: COCO's uncompressed encoding, which goes down the columns."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from xaibench.hashing import content_hash


def encode(masks: np.ndarray) -> list[list[int]]:
    """The run lengths of masks (N, H, W) bool: pixels in column-major order, the first run is of pixels outside.

    These are the `counts` of COCO's uncompressed RLE. Only the first run may be 0.
    """
    count, height, width = masks.shape
    pixels = masks.transpose(0, 2, 1).reshape(count, height * width)
    ends = np.ones((count, 1), dtype=bool)
    starts = np.concatenate([pixels[:, :1], pixels[:, 1:] != pixels[:, :-1], ends], 1)
    return [np.diff(np.flatnonzero(row), prepend=0).tolist() for row in starts]


def decode(counts: Sequence[Sequence[int]], size: tuple[int, int]) -> np.ndarray:
    """The masks (N, H, W) bool of run lengths; raises ValueError where these do not fill the size (H, W)."""
    height, width = size
    masks = np.zeros((len(counts), width * height), dtype=bool)
    for mask, runs in zip(masks, counts, strict=True):
        lengths = np.asarray(runs, dtype=np.int64)
        if (lengths < 0).any() or lengths.sum() != height * width:
            raise ValueError(f"run lengths of {lengths.sum()} pixels are no mask of {height} x {width}")
        mask[:] = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return np.ascontiguousarray(masks.reshape(-1, width, height).transpose(0, 2, 1))


def digest_of(counts: Sequence[Sequence[int]]) -> str:
    """The hash that names the masks of an image: that of their run lengths as JSON without spaces."""
    return content_hash(json.dumps(counts, separators=(",", ":")).encode())
