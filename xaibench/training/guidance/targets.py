"""What guides a model: which training images are annotated, by boxes or by masks, and which class of an image guides.

Rao et al. 2023 guide by boxes of 1, 10 or 100 % of the images, drawn without replacement, also by boxes that are
dilated; the study of their results adds sparse segmentation masks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from xaibench.datasets.base import Annotation, Dataset
from xaibench.errors import XaibenchError
from xaibench.protocols.masks import box_masks
from xaibench.protocols.settings import check_between, check_choices
from xaibench.seeds import derive

KINDS = ("boxes", "masks", "mixture")
NEEDED = {"boxes": {"boxes"}, "masks": {"masks", "instances"}}


@dataclass(frozen=True)
class Annotations:
    """Which images of a training guide it, and how.

    kind: the `boxes` of a class, its `masks`, or a `mixture`: masks of a share of the annotated images, drawn one by
    one, boxes of the others and of those that have no mask. fraction: the share of images that is annotated. dilate:
    the share of its width and height by which a box grows on each side. seed: the annotated images of a fraction are
    among those of a larger one of the same seed. Raises XaibenchError for settings that are out of range.
    """

    kind: str = "boxes"
    fraction: float = 1.0
    dilate: float = 0.0
    seed: int = 0
    share_masks: float = 0.1

    def __post_init__(self):
        check_choices(self, kind=KINDS)
        for name, high in (("fraction", 1), ("dilate", 10), ("share_masks", 1)):
            check_between(name, getattr(self, name), 0, high)
        if not self.fraction:
            raise XaibenchError("fraction is 0, so no image would guide the model; train without guidance instead")
        if self.dilate and self.kind == "masks":
            raise XaibenchError("dilate is for boxes, not for masks; leave it out or take --annotations boxes")

    @property
    def key_fields(self) -> dict[str, Any]:
        """All settings that matter, as JSON."""
        return {k: v for k, v in asdict(self).items() if k != "share_masks" or self.kind == "mixture"}

    def check(self, dataset: Dataset) -> None:
        """Raises XaibenchError for a data set that does not know what guides."""
        for kind, needed in NEEDED.items():
            if self.kind in (kind, "mixture") and not needed & dataset.knows:
                raise XaibenchError(f"data set {dataset.name} has no {kind} to guide a model by (--annotations)")

    def annotated(self, image_ids: Iterable[str]) -> frozenset[str]:
        """The annotated ones of a data set's images: the fraction of them, rounded, at least one."""
        ordered = sorted(image_ids, key=lambda image_id: (derive(self.seed, "annotated", image_id), image_id))
        return frozenset(ordered[: max(1, round(self.fraction * len(ordered)))])

    def mask(self, dataset: Dataset, image_id: str, label: int) -> np.ndarray | None:
        """Where a class is in an annotated image, (H, W) bool as displayed; None where no pixel of it is known.

        The union of its boxes, dilated and cut off at the image, or its mask; undecided pixels are not in it.
        """
        annotation = dataset.annotate(image_id)
        found = None
        if self.kind != "boxes" and self._by_mask(image_id):
            found = class_mask(annotation, label)
        if self.kind != "masks" and found is None:
            found = class_boxes(annotation, label, self.dilate)
        return found

    def _by_mask(self, image_id: str) -> bool:
        share = self.share_masks if self.kind == "mixture" else 1
        return derive(self.seed, "mask or box", image_id) < share * 2**63


def class_mask(annotation: Annotation, label: int) -> np.ndarray | None:
    """The visible pixels (H, W) bool of a class; None where there are none."""
    if len(annotation.instances):
        mask = annotation.instances[annotation.box_labels == label].any(0)
    else:
        mask = annotation.masks.get(label)
    return mask if mask is not None and mask.any() else None


def class_boxes(annotation: Annotation, label: int, dilate: float = 0.0) -> np.ndarray | None:
    """The union (H, W) bool of the boxes of a class, each grown on every side; None where they hold no pixel.

    dilate is the share of its width, or height, by which a box grows to the left and to the right, or up and down,
    rounded to whole pixels.
    """
    boxes = annotation.boxes[annotation.box_labels == label]
    low, high = boxes[:, :2], boxes[:, 2:]
    margin = np.floor(dilate * (high - low) + 0.5).astype(np.int64)
    grown = torch.from_numpy(np.concatenate([low - margin, high + margin], 1))
    mask = box_masks(grown, annotation.instances.shape[1:]).any(0).numpy()
    return mask if mask.any() else None


def sample_label(labels: Sequence[int], seed: int, image_id: str, epoch: int) -> int:
    """One of the classes of an image, drawn uniformly from (seed, image id, epoch).

    Raises XaibenchError for an image without a class.
    """
    if not len(labels):
        raise XaibenchError(f"image {image_id} has no class to guide; leave it out of the training images")
    return int(labels[derive(seed, "guided class", image_id, epoch) % len(labels)])
