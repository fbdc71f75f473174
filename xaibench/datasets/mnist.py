"""MNIST: grey digits of 28 x 28 pixels, with the digit's pixels as mask."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from xaibench.cards import Geometry
from xaibench.datasets.arrays import Arrays
from xaibench.datasets.base import Annotation, Piece
from xaibench.datasets.images import read_bytes
from xaibench.datasets.placement import Placement
from xaibench.datasets.reading import SPLITS, fetch, one_of, tight_boxes
from xaibench.errors import XaibenchError, one_line

DIGITS = tuple("0123456789")
SIDE = 28
UBYTE = 0x08  # the only type of IDX files that MNIST uses


class MNIST(Arrays):
    """The digits of one split: train, val (a tenth of the published training images), trainval or test.

    root holds `MNIST/raw/` as torchvision makes it, or `raw/`, or the IDX files themselves, compressed by gzip or not;
    a split needs its own two files only. threshold: pixels above it, of 255, belong to the digit. Raises XaibenchError
    for files that are missing or broken.
    """

    name = "mnist"
    knows = frozenset({"boxes", "masks", "instances", "objects"})
    classes = DIGITS

    def __init__(self, root: str | Path, geometry: Geometry, split: str = "test", threshold: int = 127):
        one_of(f"{self.name}: split", split, SPLITS)
        if type(threshold) is not int or not 0 <= threshold <= 254:
            raise XaibenchError(f"{self.name}: threshold is a grey value from 0 to 254, not {threshold!r}")
        self.root, self.threshold = Path(root), threshold
        stem = "t10k" if split == "test" else "train"
        self._files = [find_file(self.root, f"{stem}-{what}-ubyte") for what in ("images-idx3", "labels-idx1")]
        pixels, labels = (read_idx(path, rank) for path, rank in zip(self._files, (3, 1), strict=True))
        if pixels.shape[1:] != (SIDE, SIDE):
            high, wide = pixels.shape[1:]
            raise XaibenchError(f"{self._files[0]} has images of {wide} x {high} pixels, not 28 x 28")
        super().__init__(pixels, labels, geometry, split)

    @classmethod
    def download(cls, root: Path, **options: Any) -> None:
        """Fetches the four files by torchvision into `root/MNIST/raw`."""
        from torchvision.datasets import MNIST as Reader

        fetch(cls.name, lambda: Reader(root, download=True))

    def annotate(self, image_id: str) -> Annotation:
        """The digit's pixels and their tight box; the level of objects is `digits`."""
        digit = [(0, 0, self.label(image_id))]
        return digits_in(self.pixels(image_id), digit, self.placement(image_id), self.threshold)

    def pieces(self) -> list[Piece]:
        """The two files of the split."""
        named = zip(("images", "labels"), self._files, strict=True)
        return [Piece(what, path, len(self._all_labels)) for what, path in named]


def digits_in(
    pixels: np.ndarray, digits: list[tuple[int, int, int]], placement: Placement, threshold: int
) -> Annotation:
    """The annotation of digits in grey pixels (height, width) uint8: each is (x, y, label) with the upper left corner
    of its square of 28 x 28. A digit without a pixel above the threshold is no instance."""
    found = []
    for x, y, label in digits:
        mask = np.zeros(pixels.shape, dtype=bool)
        mask[y : y + SIDE, x : x + SIDE] = pixels[y : y + SIDE, x : x + SIDE] > threshold
        if mask.any():
            found.append((label, mask))
    masks = np.array([mask for _, mask in found]).reshape(-1, *pixels.shape).astype(bool)
    instances = placement.masks(masks)
    return Annotation(
        labels=tuple(dict.fromkeys(label for _, _, label in digits)),
        boxes=placement.boxes(tight_boxes(masks)),
        box_labels=np.array([label for label, _ in found], dtype=np.int64),
        instances=instances,
        objects={"digits": instances},
    )


def find_file(root: Path, name: str) -> Path:
    """A file of MNIST below root, unpacked or as .gz; raises XaibenchError where there is none."""
    if not root.is_dir():
        raise XaibenchError(f"--data-root {root} is not a folder")
    for folder in (root / "MNIST" / "raw", root / "raw", root):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise XaibenchError(f"{root} has no MNIST/raw/{name}.gz; --data-root is the folder that holds MNIST/")


def read_idx(path: Path, rank: int) -> np.ndarray:
    """The array of an IDX file of unsigned bytes with so many axes, uint8; a path that ends in .gz is unpacked.

    Raises XaibenchError where the file cannot be unpacked, is no such file, or its length differs from that in its
    header.
    """
    data, again = read_bytes(path), "fetch it again"
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise XaibenchError(f"{path} cannot be unpacked: {one_line(error)}; {again}") from error
    start = 4 + 4 * rank
    if len(data) < start or data[:4] != bytes((0, 0, UBYTE, rank)):
        raise XaibenchError(f"{path} is no IDX file of bytes with {rank} {'axis' if rank == 1 else 'axes'}; {again}")
    shape = tuple(np.frombuffer(data, ">i4", rank, 4).tolist())
    if min(shape) < 0 or len(data) - start != np.prod(shape, dtype=np.int64):
        announced = " x ".join(map(str, shape))
        raise XaibenchError(f"{path} has {len(data) - start} bytes, but {announced} by its header; {again}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
