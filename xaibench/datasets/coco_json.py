"""The content of a COCO JSON: photos, categories, and instances with boxes. Lin et al. 2014, arXiv:1405.0312."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from xaibench.datasets.images import read_bytes
from xaibench.datasets.placement import is_position
from xaibench.errors import XaibenchError, one_line
from xaibench.parsing import parse_json

Entry = dict[str, Any]
FIELDS = {
    "categories": {"id": int, "name": str},
    "images": {"id": int, "file_name": str, "width": int, "height": int},
    "annotations": {"id": int, "image_id": int, "category_id": int, "bbox": list},
}


@dataclass(frozen=True)
class CocoFile:
    """categories: names in order of id, which is how class indices are given. photos by file name, in order of id.
    instances: annotations of each photo by its id, in order of id. empty: how many annotations were left out since
    their box has no area."""

    path: Path
    categories: tuple[str, ...]
    photos: dict[str, Entry]
    instances: dict[int, list[Entry]]
    class_of: dict[int, int]
    empty: int

    def boxes(self, found: list[Entry]) -> np.ndarray:
        """Boxes (N, 4) float64 of annotations, x0 y0 x1 y1 in pixels of the photo, x1 and y1 exclusive."""
        boxes = np.array([entry["bbox"] for entry in found], dtype=np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return boxes

    def labels(self, found: list[Entry]) -> np.ndarray:
        """Class indices (N,) int64 of annotations."""
        return np.array([self.class_of[entry["category_id"]] for entry in found], dtype=np.int64)


def read_coco(path: Path, crowd: bool = True) -> CocoFile:
    """The content of a COCO JSON; crowd: whether annotations with `iscrowd` are kept.

    Raises XaibenchError for a file that is no such JSON, lacks a list or a field, has an id or a file name twice, or
    annotations whose photo or category is not listed, and for boxes that are not four numbers of positive size. A width
    or height of 0, which COCO 2017 has twice, is counted in `empty`.
    """
    lists = _lists(path)
    names = {entry["id"]: entry["name"] for entry in sorted(lists["categories"], key=_id)}
    photos = {entry["file_name"]: entry for entry in sorted(lists["images"], key=_id)}
    if len(photos) < len(lists["images"]):
        raise XaibenchError(f"{path}: two images have the same file_name; give each its own")
    for name in photos:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise XaibenchError(f"{path}: file_name {name!r} is no path below the folder of photos")
    instances, known, empty = defaultdict(list), {entry["id"] for entry in lists["images"]}, 0
    for entry in sorted(lists["annotations"], key=_id):
        where = f"{path}: annotation {entry['id']}"
        if entry["image_id"] not in known:
            raise XaibenchError(f"{where} is of image {entry['image_id']}, which is not listed; take it out")
        if entry["category_id"] not in names:
            raise XaibenchError(f"{where} has category {entry['category_id']}, which is not listed; add it or mend it")
        box = entry["bbox"]
        if len(box) != 4 or not all(map(is_position, box)) or min(box[2:]) < 0:
            raise XaibenchError(f"{where} has the box {box}, not x, y, width and height")
        if entry.get("iscrowd") and not crowd:
            continue
        if min(box[2:]) == 0:
            empty += 1
        else:
            instances[entry["image_id"]].append(entry)
    classes = {category: index for index, category in enumerate(names)}
    return CocoFile(path, tuple(names.values()), photos, dict(instances), classes, empty)


def photo_size(photo: Entry) -> tuple[int, int] | None:
    """(width, height) of a photo's entry; None for 0, which some tools write where they do not know it."""
    width, height = photo["width"], photo["height"]
    return (width, height) if width > 0 and height > 0 else None


def _id(entry: Entry) -> int:
    return entry["id"]


def _lists(path: Path) -> dict[str, list[Entry]]:
    """The three lists of a file, with the fields that are needed and ids that differ."""
    try:
        content = parse_json(read_bytes(path))
    except ValueError as error:
        raise XaibenchError(f"{path} is no JSON: {one_line(error)}; restore it") from error
    for name, fields in FIELDS.items():
        entries = content.get(name) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not entries:
            lists = ", ".join(FIELDS)
            raise XaibenchError(f"{path} is no COCO JSON of instances: it has no {name}; it needs the lists {lists}")
        seen = set()
        for number, entry in enumerate(entries):
            for field, kind in fields.items():
                if not isinstance(entry, dict) or not isinstance(entry.get(field), kind):
                    type_name = {int: "a whole number", str: "a text", list: "a list"}[kind]
                    raise XaibenchError(f"{path}: entry {number} of {name} has no {field} that is {type_name}")
            if entry["id"] in seen:
                raise XaibenchError(f"{path}: two {name} have the id {entry['id']}; give each its own")
            seen.add(entry["id"])
    return content
