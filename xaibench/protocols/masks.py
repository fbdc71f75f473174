"""Helpers for protocols that compare maps with objects: boxes and masks of a class as tensors, common settings.

`class_boxes`, `class_masks` and `valid_pixels` read the annotations of a batch's images, for a protocol whose `needs`
name `boxes` or `masks`. `Localisation` is the base class of such a protocol.
"""

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
    """Maps with negative values set to 0, and values that are not finite set to NaN.

    Args:
        maps: (P, 1, H, W), any floating dtype.

    Returns:
        (P, H, W) float64.

    Examples:
        >>> import torch
        >>> from xaibench.functional import positive_part
        >>> positive_part(torch.tensor([[[[1.5, -2.0, torch.inf]]]]))
        tensor([[[1.5000, 0.0000,    nan]]], dtype=torch.float64)
    """
    values = maps[:, 0].double()
    return torch.where(values.isfinite(), values.clamp(min=0), torch.nan)


def box_masks(boxes: Tensor, size: tuple[int, int], margin: float = 0.0) -> Tensor:
    """Boxes as masks: the pixels in each box, or at most `margin` pixels (Euclidean distance) from a pixel in it.

    Args:
        boxes: (N, 4) int64: x0 y0 x1 y1 in pixels, x1 and y1 exclusive. What lies outside of the image is cut off
            first, so a box without a pixel in the image is empty at any margin.
        size: (H, W) of the image.
        margin: 0 or more.

    Returns:
        (N, H, W) bool.

    Examples:
        >>> import torch
        >>> from xaibench.functional import box_masks
        >>> box_masks(torch.tensor([[1, 0, 3, 1]]), size=(2, 4)).int().tolist()
        [[[0, 1, 1, 0], [0, 0, 0, 0]]]
    """
    (height, width), (x0, y0, x1, y1) = size, boxes.view(-1, 4).T[..., None, None]
    x0, x1, y0, y1 = x0.clamp(min=0), x1.clamp(max=width), y0.clamp(min=0), y1.clamp(max=height)
    x, y = torch.arange(width, device=boxes.device), torch.arange(height, device=boxes.device)[:, None]
    right, down = torch.maximum(x0 - x, x - x1 + 1).clamp(min=0), torch.maximum(y0 - y, y - y1 + 1).clamp(min=0)
    return (right**2 + down**2 <= margin**2) & (x1 > x0) & (y1 > y0)


def annotation_of(e: Evidence, image: int) -> Annotation:
    """The annotation of an image of the batch; raises XaibenchError where evidence comes without annotations."""
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
    size, regions = image_size(e), []
    for image, target in zip(e.owner.tolist(), e.targets.tolist(), strict=True):
        annotation = annotation_of(e, image)
        if len(annotation.instances):
            shape, expected = annotation.instances.shape, (len(annotation.box_labels), *size)
            if shape != expected:
                raise XaibenchError(
                    f"masks of instances are {shape}, not one for each box at the image's size, {expected}"
                )
            chosen = annotation.instances[(annotation.box_labels == target) | every]
        else:
            chosen = np.array([mask for label, mask in annotation.masks.items() if every or label == target])
        regions.append(torch.from_numpy(chosen.reshape(-1, *size).any(0)))
    return regions


def valid_pixels(e: Evidence) -> Tensor | None:
    """(P, H, W) bool: the pixels whose class the annotations state; None where that is every pixel of every image."""
    masks = [annotation_of(e, image).ignored for image in e.owner.tolist()]
    if all(mask is None for mask in masks):
        return None
    nothing = np.zeros(image_size(e), dtype=bool)
    return _stacked(e, [torch.from_numpy(~(nothing if mask is None else mask)) for mask in masks])


def per_pair(e: Evidence, every: bool, region: Region) -> list[Tensor]:
    """region(annotation, chosen) for each pair; chosen (N,) bool are the instances of its class, all where `every`."""
    regions = []
    for image, target in zip(e.owner.tolist(), e.targets.tolist(), strict=True):
        annotation = annotation_of(e, image)
        regions.append(region(annotation, (annotation.box_labels == target) | every))
    return regions


def image_size(e: Evidence) -> tuple[int, int]:
    """(H, W) of the images, in which annotations are drawn."""
    return int(e.images.shape[-2]), int(e.images.shape[-1])


def _stacked(e: Evidence, regions: list[Tensor]) -> Tensor:
    empty = torch.zeros(0, *image_size(e), dtype=torch.bool)
    return (torch.stack(regions) if regions else empty).to(e.images.device)


@dataclass(frozen=True)
class Localisation(Protocol):
    """The base class of protocols that compare maps with the place of a class.

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
