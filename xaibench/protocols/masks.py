"""What protocols about objects share: the regions of a class as masks, the positive part of maps, common settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.datasets.base import Annotation
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Protocol
from xaibench.protocols.settings import OUTPUTS, check_choices

Region = Callable[[Annotation, np.ndarray], Tensor]


def positive_part(maps: Tensor) -> Tensor:
    """(P, H, W) float64: maps (P, 1, H, W) with negative values set to 0, and all that is not finite to NaN."""
    values = maps[:, 0].double()
    return torch.where(values.isfinite(), values.clamp(min=0), torch.nan)


def box_masks(boxes: Tensor, size: tuple[int, int], margin: float = 0.0) -> Tensor:
    """(N, H, W) bool: pixels in each box, or at most `margin` pixels (Euclidean) from a pixel in it.

    boxes (N, 4) int64 are x0 y0 x1 y1, x1 and y1 exclusive. What lies outside of the image of size (H, W) is cut off
    first, so a box without a pixel in the image is empty at any margin.
    """
    (height, width), (x0, y0, x1, y1) = size, boxes.view(-1, 4).T[..., None, None]
    x0, x1, y0, y1 = x0.clamp(min=0), x1.clamp(max=width), y0.clamp(min=0), y1.clamp(max=height)
    x, y = torch.arange(width, device=boxes.device), torch.arange(height, device=boxes.device)[:, None]
    right, down = torch.maximum(x0 - x, x - x1 + 1).clamp(min=0), torch.maximum(y0 - y, y - y1 + 1).clamp(min=0)
    return (right**2 + down**2 <= margin**2) & (x1 > x0) & (y1 > y0)


def annotation_of(e: Evidence, image: int) -> Annotation:
    """What is known about an image of the batch; raises XaibenchError where evidence comes without annotations."""
    if e.annotations is None:
        raise XaibenchError("this protocol needs annotated images, which come with a data set; use `xaibench.run`")
    return e.annotations[image]


def class_boxes(e: Evidence, every: bool = False, margin: float = 0.0) -> Tensor:
    """(P, H, W) bool: the union of the boxes of each pair's class, of all boxes where `every`, grown by a margin."""
    size = image_size(e)

    def boxes(annotation: Annotation, chosen: np.ndarray) -> Tensor:
        return box_masks(torch.from_numpy(annotation.boxes[chosen]), size, margin).any(0)

    return e.once(("class boxes", every, margin), lambda: _stacked(e, per_pair(e, every, boxes)))


def class_masks(e: Evidence, every: bool = False) -> Tensor:
    """(P, H, W) bool: the visible pixels of each pair's class, of all classes where `every`.

    Taken from the instances, or from masks of classes where the image has no instances; empty where it has neither.
    """
    return e.once(("class masks", every), lambda: _stacked(e, _class_masks(e, every)))


def _class_masks(e: Evidence, every: bool) -> list[Tensor]:
    size, found = image_size(e), []
    for image, target in zip(e.owner.tolist(), e.targets.tolist(), strict=True):
        annotation = annotation_of(e, image)
        if len(annotation.instances):
            wanted = (len(annotation.box_labels), *size)
            if annotation.instances.shape != wanted:
                shape = annotation.instances.shape
                raise XaibenchError(
                    f"masks of instances are {shape}, not one for each box at the image's size, {wanted}"
                )
            chosen = annotation.instances[(annotation.box_labels == target) | every]
        else:
            chosen = np.array([mask for label, mask in annotation.masks.items() if every or label == target])
        found.append(torch.from_numpy(chosen.reshape(-1, *size).any(0)))
    return found


def valid_pixels(e: Evidence) -> Tensor | None:
    """(P, H, W) bool: the pixels that the data set does not leave undecided; None where that is all of them."""
    masks = [annotation_of(e, image).ignored for image in e.owner.tolist()]
    if all(mask is None for mask in masks):
        return None
    nothing = np.zeros(image_size(e), dtype=bool)
    return _stacked(e, [torch.from_numpy(~(nothing if mask is None else mask)) for mask in masks])


def per_pair(e: Evidence, every: bool, region: Region) -> list[Tensor]:
    """region(annotation, chosen) for each pair; chosen (N,) bool are the instances of its class, all where `every`."""
    found = []
    for image, target in zip(e.owner.tolist(), e.targets.tolist(), strict=True):
        annotation = annotation_of(e, image)
        found.append(region(annotation, (annotation.box_labels == target) | every))
    return found


def image_size(e: Evidence) -> tuple[int, int]:
    """(H, W) of the images, in which annotations are drawn."""
    return int(e.images.shape[-2]), int(e.images.shape[-1])


def _stacked(e: Evidence, regions: list[Tensor]) -> Tensor:
    empty = torch.zeros(0, *image_size(e), dtype=torch.bool)
    return (torch.stack(regions) if regions else empty).to(e.images.device)


@dataclass(frozen=True)
class Localisation(Protocol):
    """A protocol that compares maps with where a class is.

    Settings: target (labels, label, prediction) and whether its logit or its probability is explained. A predicted
    class may be none of the data's, so predictions are compared with all annotated objects of the image together.
    """

    targets: ClassVar[tuple[str, ...]] = ("labels", "label", "prediction")
    target: str = "labels"
    attribution_output: str = "logit"

    def __post_init__(self):
        check_choices(self, target=self.targets, attribution_output=OUTPUTS)

    @property
    def every(self) -> bool:
        """Whether maps are compared with all objects rather than with those of their class."""
        return self.target == "prediction"

    @property
    def description(self) -> str:
        """Such as `labels, logit` or `prediction against all objects, logit`."""
        return f"{self.target}{' against all objects' if self.every else ''}, {self.attribution_output}"


def between(name: str, value: object, low: float, high: float) -> None:
    """Raises XaibenchError unless a setting is a number from low to high."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise XaibenchError(f"{name} is a number from {low:g} to {high:g}, not {value!r}")
