"""The masks of PASCAL VOC: SegmentationClass has the class of each pixel, SegmentationObject the object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xaibench.datasets.annotated import class_of_most
from xaibench.datasets.photos import read_labels
from xaibench.errors import XaibenchError

UNDECIDED = 255


def undecided(path: Path, size: tuple[int, int]) -> np.ndarray:
    """(height, width) bool: the undecided pixels of a mask, mostly outlines."""
    return read_labels(path, size) == UNDECIDED


def class_masks(path: Path, size: tuple[int, int], classes: int) -> dict[int, np.ndarray]:
    """The pixels (height, width) bool of each class that a file of SegmentationClass shows, by class index.

    size is the photo's (width, height). Raises XaibenchError for a file that is no such mask.
    """
    labels = read_labels(path, size)
    found = [int(label) for label in np.unique(labels) if label not in (0, UNDECIDED)]
    if found and found[-1] > classes:
        raise XaibenchError(f"mask {path} has the label {found[-1]}; VOC's are 0 to {classes}, and {UNDECIDED}")
    return {label - 1: labels == label for label in found}


def instance_masks(
    path: Path, by_class: Path, size: tuple[int, int], boxes: np.ndarray, labels: np.ndarray, xml: Path,
    names: Sequence[str],
) -> np.ndarray:  # fmt: skip
    """The pixels (N, height, width) bool of each object of an XML file, from its file of SegmentationObject.

    boxes (N, 4) and labels (N,) are the XML's, names those of the classes. An object may have no pixel. Raises
    XaibenchError where the files disagree about which object is which: a number without object, pixels of another
    class in SegmentationClass, or most pixels outside of the object's box.
    """
    found, classes = read_labels(path, size), read_labels(by_class, size)
    masks = found == np.arange(1, len(boxes) + 1)[:, None, None]
    numbers = [int(number) for number in np.unique(found) if number not in (0, UNDECIDED)]
    if numbers and numbers[-1] > len(boxes):
        raise XaibenchError(f"mask {path} has the object {numbers[-1]}, {xml} lists {len(boxes)}; restore one of them")
    for number in numbers:
        mask, (x0, y0, x1, y1) = masks[number - 1], boxes[number - 1].round().astype(int)
        shown = class_of_most(classes[mask]) - 1
        if shown != labels[number - 1]:
            other = names[shown] if 0 <= shown < len(names) else "no class"
            raise XaibenchError(
                f"mask {path}: object {number} is {names[labels[number - 1]]} in {xml}, but {other} in {by_class}"
            )
        if 2 * mask[y0:y1, x0:x1].sum() < mask.sum():
            raise XaibenchError(f"mask {path}: most of object {number} lies outside of its box in {xml}")
    return masks
