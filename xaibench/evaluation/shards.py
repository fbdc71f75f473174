"""How the work of a run is cut: shards of batches at fixed places of the image list.

The places depend on the batch size alone, so every process that works on a job list cuts the same shards, and a resumed
run passes the same images together as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xaibench.datasets.base import hashed_place
from xaibench.results.claims import Span

LEAST_IMAGES = 8  # of a shard, rounded up to whole batches


@dataclass(frozen=True)
class Shard:
    """Some consecutive batches of the image list. number: its place in the list of all shards; first: the position of
    its first image in the list; batches: image ids."""

    number: int
    first: int
    batches: tuple[tuple[str, ...], ...]

    @property
    def images(self) -> list[str]:
        """All its image ids."""
        return [image for batch in self.batches for image in batch]

    @property
    def span(self) -> Span:
        """Where its images lie in the order of all images; it contains no image of another shard of the list."""
        places = [f"{hashed_place(image):016x}" for image in self.images]
        return min(places), max(places)


def cut(images: Sequence[str], batch: int) -> list[Shard]:
    """All shards of a list of images, of whole batches of `batch` images."""
    size = batch * -(-LEAST_IMAGES // batch)
    return [
        Shard(number, first, tuple(tuple(images[at : at + batch]) for at in range(first, end, batch)))
        for number, first in enumerate(range(0, len(images), size))
        if (end := min(first + size, len(images)))
    ]


def part_of(shards: Sequence[Shard], part: tuple[int, int]) -> list[Shard]:
    """The shards of part number `part[0]` of `part[1]`: every so many-th, so that parts are equally long."""
    number, count = part
    return [shard for shard in shards if shard.number % count == number]
