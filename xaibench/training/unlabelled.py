"""The unlabelled images that a network is aligned on by its own answers, and how a run is kept from evaluating them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaibench.cards import DatasetCard
from xaibench.datasets.base import Dataset
from xaibench.datasets.folder import PhotoFolder
from xaibench.datasets.images import read_bytes
from xaibench.datasets.open import open_dataset
from xaibench.datasets.photos import Photos
from xaibench.datasets.wrapped import Some, Wrapped
from xaibench.errors import XaibenchError
from xaibench.hashing import content_hash
from xaibench.models.file_kinds import is_safetensors
from xaibench.models.state import read_header


@dataclass(frozen=True)
class Unlabelled:
    """Images whose labels nobody looks at, with the digest of each."""

    dataset: Dataset
    digests: tuple[str, ...]

    @property
    def key_fields(self) -> dict[str, Any]:
        """Where they are from, and the hash of all digests, for keys and headers."""
        return {"from": self.dataset.name, "digest": content_hash(json.dumps(self.digests).encode())}


def open_unlabelled(
    card: DatasetCard, root: Path | None, parameters: dict[str, Any], photos: Path | None, images: int
) -> Unlabelled:
    """`images` images of a folder of photos or, without one, of the training images of a data set.

    They are the last of the shuffled order, while runs evaluate the first. Raises XaibenchError where there are fewer,
    and as opening the folder or the data set does.
    """
    if photos is not None:
        dataset: Dataset = PhotoFolder(photos, card.geometry)
    else:
        dataset = open_dataset(card, root, parameters, "train")
    ids = dataset.image_list()
    if len(ids) < images:
        what = f"{photos} has" if photos else f"data set {card.name} has, to learn from,"
        hint = f"--images {len(ids)}" + ("" if photos else ", or name a folder of photos by --photos DIR")
        raise XaibenchError(f"{what} {len(ids)} images, not {images}; take {hint}")
    chosen = Some(dataset, ids[len(ids) - images :])
    return Unlabelled(chosen, tuple(source_digest(dataset, image_id) for image_id in chosen.ids))


def source_digest(dataset: Dataset, image_id: str) -> str:
    """The digest of an image alone, whatever its annotations, size and data set: for a photo that of its file."""
    while isinstance(dataset, Wrapped):
        dataset = dataset.dataset
    if isinstance(dataset, Photos):
        return content_hash(read_bytes(dataset.path(image_id)))
    return dataset.digest(image_id)


def aligned_on(start: Path | None, unlabelled: Unlabelled | None) -> list[str]:
    """The digests of all images that weights were aligned on without labels: now, and before by the header of the file
    that their training starts from."""
    before = read_header(start).get("aligned_on", ()) if start is not None and is_safetensors(start) else ()
    return list(dict.fromkeys([*before, *(unlabelled.digests if unlabelled else ())]))


def check_unseen(header: dict[str, Any], dataset: Dataset, images: list[str]) -> None:
    """Raises XaibenchError where the weights with this header were aligned on some of the images of a data set."""
    learnt = set(header.get("aligned_on", ()))
    if not learnt:
        return
    seen = [image_id for image_id in images if source_digest(dataset, image_id) in learnt]
    if seen:
        raise XaibenchError(
            f"the weights were aligned on {len(seen)} of the {len(images)} images of this run, such as {seen[0]}; "
            f"evaluate others (--images takes the first of the data set's order, an alignment the last), or align on "
            "other photos (--photos DIR)"
        )


STILL_ITSELF = 0.9
"""The least share of intact images whose answer an alignment without labels leaves as it was, without a warning."""


def lost_answers(header: Mapping[str, Any]) -> str | None:
    """A warning of one line where an alignment without labels, by the header of its weights, changed what the network
    answers to intact images; None for all other weights."""
    if not header.get("unlabelled") or header["metrics"]["agreement"] >= STILL_ITSELF:
        return None
    share = f"{header['metrics']['agreement']:.1%}"
    return (
        f"alignment without labels left the answer to only {share} of the intact images as it was, so scores are of "
        "another network: align again with a lower --learning-rate"
    )
