"""Held-out images of a data set, to which protocols are fitted before they score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xaibench.datasets.base import Dataset
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError
from xaibench.evaluation.resolve import ResolvedRun
from xaibench.hashing import content_hash


@dataclass(frozen=True)
class HeldOut:
    """The images of a data set's validation part in the order in which they are taken."""

    dataset: Dataset
    ids: Sequence[str]

    def first(self, count: int) -> list[str]:
        """The first `count` images; raises XaibenchError where there are fewer."""
        if len(self.ids) < count:
            raise XaibenchError(
                f"{count} held-out images are needed and {self.dataset.name} has {len(self.ids)}; lower held_out"
            )
        return list(self.ids[:count])

    def key_fields(self, count: int) -> dict[str, Any]:
        """What keys hash of the first `count` images: how many, and their ids and content."""
        listed = (f"{image_id} {self.dataset.digest(image_id)}" for image_id in self.first(count))
        return {"images": count, "list": content_hash("\n".join(listed).encode())}


def open_held_out(run: ResolvedRun) -> HeldOut | None:
    """The held-out images of a run, where any of its protocols is fitted.

    They are the data set's validation part, or, where that is what is evaluated, the last images of its order.
    """
    if not any(protocol.held_out_images for _, protocol in run.protocols):
        return None
    dataset = open_dataset(run.data, run.config.data_root, run.config.dataset_options, "validation")
    listed = dataset.image_list()
    return HeldOut(dataset, listed[::-1] if set(listed) & set(run.dataset.ids) else listed)
