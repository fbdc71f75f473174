"""A data set with masks of all objects that were made for it: one more level of `Annotation.objects`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.cards import DatasetCard
from xaibench.datasets.base import Annotation, Dataset, Piece, Sample
from xaibench.datasets.wrapped import Wrapped
from xaibench.errors import XaibenchError
from xaibench.hashing import content_hash
from xaibench.masks.store import Masks


class WithMasks(Wrapped):
    """Images of a data set, with masks of each image as objects of a level that is named by their maker.

    The digest of an image covers its masks too. Loading an image raises XaibenchError if its masks are of another
    photo, `annotate` also if it has no masks.
    """

    def __init__(self, dataset: Dataset, masks: Masks):
        super().__init__(dataset)
        self.masks, self.on_disk = masks, True  # masks are files, whatever images are
        self.knows = dataset.knows | {"objects"}

    def load(self, image_id: str) -> Sample:
        """The sample, with a digest that covers the masks too."""
        sample = super().load(image_id)
        return replace(sample, digest=self._digest(image_id, sample.digest))

    def digest(self, image_id: str) -> str:
        """The hash of the image's source and of its masks."""
        return self._digest(image_id, self.dataset.digest(image_id))

    def pieces(self) -> list[Piece]:
        """The files that the data set was read from, and the masks."""
        return [*self.dataset.pieces(), Piece("masks", self.masks.path, len(self.masks.entries))]

    def annotate(self, image_id: str) -> Annotation:
        """The data set's annotations of the image, with the masks among its objects."""
        level, made = self.masks.header.maker, self.masks.load(image_id)
        known = self.annotated(image_id, self.masks.header.side)
        if level in known.objects:
            raise XaibenchError(f"data set {self.name} has objects of a level {level!r} already; leave out --masks")
        return replace(known, objects={**known.objects, level: made})

    def check(self, image_ids: Sequence[str]) -> None:
        """Raises XaibenchError where images have no masks here."""
        missing = sum(image_id not in self.masks.entries for image_id in image_ids)
        if missing:
            header = self.masks.header
            raise XaibenchError(
                f"{missing} of {len(image_ids)} images have no masks in {self.masks.path}; make them by "
                f"`xaibench masks make --dataset {header.dataset['name']} --with {header.maker} "
                f"--images {len(image_ids)} --out {self.masks.path}`, with the settings of the others"
            )

    def _digest(self, image_id: str, source: str) -> str:
        entry = self.masks.entries.get(image_id)
        if entry is None:  # a protocol may show images besides those of a run
            return source
        if entry.image_digest != source:
            raise XaibenchError(
                f"{self.masks.path} has masks of another image than {image_id}; make them again by the same "
                "`xaibench masks make` as before"
            )
        return content_hash(f"{source} {entry.digest}".encode())


def made_from(card: DatasetCard) -> dict[str, Any]:
    """The fields in which masks and a data set must agree, so that the masks are of its displayed images."""
    return {
        "name": card.name, "version": card.version, "source": registry.source(card),
        "geometry": card.geometry.key_fields,
    }  # fmt: skip


def with_masks(card: DatasetCard, dataset: Dataset, path: Path) -> WithMasks:
    """A data set with the masks at a path; raises XaibenchError for masks of another data set or other sizes."""
    masks = Masks(path)
    expected, stored = made_from(card), masks.header.dataset
    if stored.get("name") != card.name:
        raise XaibenchError(f"--masks {path} are of data set {stored.get('name')}, not {card.name}")
    other = [name for name in expected if stored.get(name) != expected[name]]
    if other or masks.header.side != card.geometry.crop:
        what = other[0] if other else "size"
        raise XaibenchError(f"--masks {path} are of another {what} of {card.name}; make them again for this one")
    return WithMasks(dataset, masks)


def mask_key_fields(dataset: Dataset) -> dict[str, Any]:
    """The part of keys about the masks of --masks; empty for a data set without."""
    return dataset.masks.header.key_fields if isinstance(dataset, WithMasks) else {}
