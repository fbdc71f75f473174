"""Shared by readers of photos with several objects: checks of files and of boxes, classes by area."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xaibench.errors import XaibenchError

SLACK = 1.0  # pixels: counting from 1 instead of 0 is not an error


def check_files(files: Sequence[Path], listed: Path) -> None:
    """Raises XaibenchError where listed files do not exist; it reads each folder once."""
    there = {folder: _names_in(folder) for folder in {path.parent for path in files}}
    missing = [path for path in files if path.name not in there[path.parent]]
    if missing:
        problem = f"{listed} lists {len(missing)} of {len(files)} files that do not exist, such as {missing[0]}"
        raise XaibenchError(f"{problem}; restore them or remove their lines")


def _names_in(folder: Path) -> set[str]:
    try:
        return {path.name for path in folder.iterdir()}
    except OSError as error:
        raise XaibenchError(f"{folder} cannot be read: {error.strerror}") from error


def in_photo(boxes: np.ndarray, size: tuple[int, int], names: Sequence[str]) -> np.ndarray:
    """Boxes (N, 4) float64, x0 y0 x1 y1 in pixels of a photo of (width, height), cut off at its edges.

    names identify the source of each box in messages. Raises XaibenchError for the first box that reaches more than
    SLACK pixels beyond the photo, or has no pixel in it.
    """
    limits = np.array([*size, *size], dtype=np.float64)
    cut = boxes.clip(0, limits)
    for name, box, beyond, rest in zip(names, boxes, np.abs(boxes - cut).max(1, initial=0), cut, strict=True):
        x0, y0, x1, y1 = rest
        if not (beyond <= SLACK and x1 > x0 and y1 > y0):  # NaN fails too
            wrong = "reaches beyond" if x1 > x0 and y1 > y0 else "has no pixel in"
            corners = " ".join(f"{value:g}" for value in box)
            raise XaibenchError(
                f"{name}: the box {corners} {wrong} its photo of {size[0]} x {size[1]} pixels; correct it"
            )
    return cut


def contained(boxes: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether `in_photo` takes boxes (N, 4) for those of a photo of (width, height)."""
    try:
        in_photo(boxes, size, [""] * len(boxes))
    except XaibenchError:
        return False
    return True


def check_size(photo: Path, size: tuple[int, int], listed: tuple[float, float] | None, where: Path) -> None:
    """Raises XaibenchError where a photo of (width, height) is not of the size that the file of its annotations lists.

    listed is None where the file does not say.
    """
    if listed is not None and listed != size:
        sizes = f"{size[0]} x {size[1]} pixels, but {listed[0]:g} x {listed[1]:g} in {where}"
        raise XaibenchError(
            f"{photo} is {sizes}; restore it, since annotations do not fit a photo that was resized or turned"
        )


def covered(boxes: np.ndarray) -> float:
    """The area of the union of boxes (N, 4), x0 y0 x1 y1."""
    x, y = np.unique(boxes[:, 0::2]), np.unique(boxes[:, 1::2])
    across = (x[:-1] >= boxes[:, :1]) & (x[:-1] < boxes[:, 2:3])
    down = (y[:-1] >= boxes[:, 1:2]) & (y[:-1] < boxes[:, 3:])
    return float(np.diff(y) @ (down[:, :, None] & across[:, None, :]).any(0) @ np.diff(x))


def classes_by_area(boxes: np.ndarray, labels: np.ndarray) -> tuple[int, ...]:
    """The classes of boxes (N, 4) with labels (N,): the one whose boxes cover most first; of equal ones the lower index
    first."""
    areas = {int(label): covered(boxes[labels == label]) for label in np.unique(labels)}
    return tuple(sorted(areas, key=lambda label: (-areas[label], label)))


def class_of_most(labels: np.ndarray) -> int:
    """The most frequent of some labels (n,), the lowest of equally frequent ones; -1 where there are none."""
    values, counts = np.unique(labels, return_counts=True)
    return int(values[counts.argmax()]) if len(values) else -1
