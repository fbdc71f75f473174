"""The XML files of PASCAL VOC, and of ImageNet, with the objects of a photo and their boxes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from xaibench.datasets.images import read_bytes
from xaibench.datasets.placement import is_position
from xaibench.datasets.reading import one_of
from xaibench.errors import XaibenchError, one_line

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


@dataclass(frozen=True)
class Listed:
    """One object of an XML file: its name, corners as they are written there, and whether it is called difficult."""

    name: str
    corners: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True)
class Objects:
    """What an XML file lists: boxes (N, 4) float64 in pixels of the photo, x0 y0 x1 y1 with x1 and y1 exclusive, labels
    (N,) int64, which of them are kept (N,) bool, and the photo's size (width, height), None where it does not say."""

    boxes: np.ndarray
    labels: np.ndarray
    kept: np.ndarray
    size: tuple[float, float] | None


def read_boxes(path: Path, difficult: bool) -> Objects:
    """The objects of a photo from VOC's XML file, whose corners count pixels from 1 and are inclusive.

    difficult: whether objects that are marked so are kept. Raises XaibenchError for a file without objects, for a class
    that is not VOC's, and for a box that ends before it begins; see also `read_objects`.
    """
    size, listed = read_objects(read_bytes(path), path)
    if not listed:
        raise XaibenchError(f"{path} lists no object, which every photo of PASCAL VOC has; restore it")
    for number, entry in enumerate(listed, 1):
        one_of(f"{path}, object {number}: the class", entry.name, CLASSES)
        x0, y0, x1, y1 = entry.corners
        if x1 < x0 or y1 < y0:
            box = " ".join(f"{value:g}" for value in entry.corners)
            raise XaibenchError(f"{path}, object {number} ({entry.name}): the box {box} ends before it begins")
    boxes = np.array([entry.corners for entry in listed]) - (1, 1, 0, 0)
    labels = np.array([CLASSES.index(entry.name) for entry in listed], dtype=np.int64)
    return Objects(boxes, labels, np.array([difficult or not entry.difficult for entry in listed]), size)


def read_objects(data: bytes, path: Path) -> tuple[tuple[float, float] | None, list[Listed]]:
    """The photo's size (width, height) and the objects that an XML file lists, in its order.

    The size is None where it is missing, or 0 as some tools write it.
    data are the bytes of the file, path is for the messages. Corners are xmin, ymin, xmax, ymax of the object itself;
    boxes of its parts (such as the head of a person) are left out. Raises XaibenchError for a file that is no such XML,
    and for an object without a name or with corners that are no numbers.
    """
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # also of encodings that Python cannot read
        raise XaibenchError(f"{path} is no XML: {one_line(error)}; restore it") from error
    if root.tag != "annotation":
        raise XaibenchError(f"{path} is no annotation of PASCAL VOC: it begins with <{root.tag}>, not <annotation>")
    listed = [_listed(entry, f"{path}, object {n}") for n, entry in enumerate(root.findall("object"), 1)]
    return _size(root.find("size"), f"{path}: the photo's size"), listed


def _size(entry: ElementTree.Element | None, where: str) -> tuple[float, float] | None:
    names = ("width", "height")
    if entry is None or not all((entry.findtext(name) or "").strip() for name in names):
        return None
    width, height = _numbers(entry, names, where)
    return (width, height) if min(width, height) > 0 else None


def _listed(entry: ElementTree.Element, where: str) -> Listed:
    name = (entry.findtext("name") or "").strip()
    if not name:
        raise XaibenchError(f"{where} has no name; restore the file")
    corners = _numbers(entry.find("bndbox"), ("xmin", "ymin", "xmax", "ymax"), f"{where} ({name})")
    return Listed(name, corners, (entry.findtext("difficult") or "0").strip() == "1")


def _numbers(entry: ElementTree.Element | None, names: tuple[str, ...], where: str) -> tuple[float, ...]:
    """The numbers in the named elements of an entry; some files of VOC 2012 have fractions."""
    found = []
    for name in names:
        text = None if entry is None else entry.findtext(name)
        try:
            found.append(float(text))
        except (TypeError, ValueError):
            found_text = "is missing" if text is None else f"is {text.strip()!r}"
            raise XaibenchError(f"{where}: <{name}> {found_text}, not a number; restore the file") from None
        if not is_position(found[-1]):
            raise XaibenchError(f"{where}: <{name}> is {text.strip()!r}, not a number; restore the file")
    return tuple(found)
