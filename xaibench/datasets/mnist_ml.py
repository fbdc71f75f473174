"""MNIST-ML: four digits of MNIST in a square, several classes an image. Schulze, Ho, Zemel 2023.

The paper does not say how the digits are drawn: here each of the four is drawn on its own, with repetition, from the
digits of the same split, and the squares touch without a gap.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xaibench.cards import Geometry
from xaibench.datasets.base import Annotation, Dataset, Piece, Sample
from xaibench.datasets.mnist import DIGITS, MNIST, SIDE, digits_in
from xaibench.datasets.placement import Placement
from xaibench.errors import XaibenchError
from xaibench.hashing import content_hash
from xaibench.seeds import derive

CORNERS = ((0, 0), (SIDE, 0), (0, SIDE), (SIDE, SIDE))  # x, y


class MNISTML(Dataset):
    """Squares of 56 x 56 pixels with four digits, drawn from the images of MNIST by (seed, split, number).

    root, split and threshold are those of MNIST; count: how many squares. Ids are `test/000123`. Raises XaibenchError
    for a count or seed out of range, and for what MNIST raises.
    """

    name = "mnist-ml"
    knows = frozenset({"boxes", "masks", "instances", "objects"})
    classes = DIGITS
    on_disk = True

    def __init__(
        self, root: str | Path, geometry: Geometry, split: str = "test", count: int = 10_000, threshold: int = 127,
        seed: int = 0,
    ):  # fmt: skip
        for name, value, low in (("count", count, 1), ("seed", seed, 0)):
            if type(value) is not int or not low <= value <= 10**6:
                raise XaibenchError(f"mnist-ml: {name} is a whole number from {low} to 1000000, not {value!r}")
        self.digits = MNIST(root, Geometry(resize=SIDE, crop=SIDE), split, threshold)
        self.geometry, self.seed = geometry, seed
        self.ids = [f"{split}/{number:06d}" for number in range(count)]
        self._known = frozenset(self.ids)

    @classmethod
    def download(cls, root: Path, **options: Any) -> None:
        """Fetches MNIST."""
        MNIST.download(root)

    def drawn(self, image_id: str) -> tuple[str, ...]:
        """The ids in MNIST of the four digits: upper left, upper right, lower left, lower right."""
        if image_id not in self._known:
            raise XaibenchError(f"mnist-ml: no image {image_id!r}; ids go from {self.ids[0]} to {self.ids[-1]}")
        chosen = (derive(self.seed, self.name, image_id, place) % len(self.digits.ids) for place in range(4))
        return tuple(self.digits.ids[number] for number in chosen)

    def pixels(self, image_id: str) -> np.ndarray:
        """The square, (56, 56) uint8 grey."""
        square = np.zeros((2 * SIDE, 2 * SIDE), dtype=np.uint8)
        for (x, y), digit in zip(CORNERS, self.drawn(image_id), strict=True):
            square[y : y + SIDE, x : x + SIDE] = self.digits.pixels(digit)
        return square

    def load(self, image_id: str) -> Sample:
        """The displayed square (crop, crop, 3) uint8; its label is the upper left digit's."""
        image = self._placement.image(self.open(image_id))
        return Sample(image_id, image, self.label(image_id), self.digest(image_id))

    def open(self, image_id: str) -> Image.Image:
        """The square as it is, for training that crops at random."""
        return Image.fromarray(self.pixels(image_id)).convert("RGB")

    def label(self, image_id: str) -> int:
        """The class of the upper left digit."""
        return self.labels(image_id)[0]

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The classes of the four digits, each once, in the order of `drawn`."""
        return tuple(dict.fromkeys(self.digits.label(digit) for digit in self.drawn(image_id)))

    def digest(self, image_id: str) -> str:
        """The hash of the square's pixels."""
        return content_hash(self.pixels(image_id).tobytes())

    def annotate(self, image_id: str) -> Annotation:
        """The pixels and the tight box of each digit; the level of objects is `digits`."""
        labels = (self.digits.label(digit) for digit in self.drawn(image_id))
        digits = [(x, y, label) for (x, y), label in zip(CORNERS, labels, strict=True)]
        return digits_in(self.pixels(image_id), digits, self._placement, self.digits.threshold)

    def pieces(self) -> list[Piece]:
        """MNIST's files."""
        return self.digits.pieces()

    @property
    def _placement(self) -> Placement:
        return Placement(2 * SIDE, 2 * SIDE, self.geometry)
