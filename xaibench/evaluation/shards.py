"""How the work of a run is cut: shards of batches at fixed places of the image list, and the locks of each.

The places depend on the batch size alone, so every process that works on a job list cuts the same shards, and a resumed
run passes the same images together as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LEAST_IMAGES = 8  # of a shard, rounded up to whole batches
SLOTS = 16  # locks of a result key: shards that are SLOTS apart share one


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

    def locks(self, keys: Iterable[str]) -> list[str]:
        """The names of the locks that a process holds while it computes results of these keys in this shard.

        They follow from the positions of the images, so that runs with other batch sizes exclude each other, too.
        """
        last = self.first + len(self.images) - 1
        slots = {block % SLOTS for block in range(self.first // LEAST_IMAGES, last // LEAST_IMAGES + 1)}
        return sorted(f"{key}-{slot:02d}" for key in keys for slot in slots)


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
