"""Checks whether a data set is complete: its files, every image with its annotations, and counts of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from xaibench.datasets.base import Annotation, Dataset, Piece, validate_sample
from xaibench.datasets.photos import UndecidedOrientation
from xaibench.errors import XaibenchError, one_line
from xaibench.progress import Bar

COLUMNS = ("class", "images", "boxes", "masks")


@dataclass(frozen=True)
class Check:
    """The result of `check_dataset`.

    pieces: the files and folders of the data set. images: the number of ids. classes: one row per class with `COLUMNS`:
    images with that label, boxes, and masks (of instances, or of the class) with a pixel; null where the data set has
    none of these or they were not read. groups: images of each group. without: images that have no `label`, `box` or
    `mask`. cut_off: boxes that lie outside of the displayed square. exif: how many photos have an EXIF orientation, by
    how they are shown (`upright`, `raw`, or `undecided`, which is a problem). skipped: entries of the data set's
    folders that it leaves out, by the reason. problems: one line each, missing required files first; broken: ids of the
    images with problems. read: how many images were read in full; if not all, boxes and masks are not counted.
    """

    name: str
    pieces: list[Piece]
    images: int
    classes: pd.DataFrame
    groups: dict[str, int]
    without: dict[str, int]
    cut_off: int
    exif: dict[str, int]
    skipped: Mapping[str, Sequence[str]]
    problems: list[str]
    broken: frozenset[str]
    read: int


def check_dataset(data: Dataset, side: int, read: int | None = None, progress: Bar | None = None) -> Check:
    """Goes through all images of a data set, which are displayed at (side, side).

    Every error of an image is recorded as a problem. read: how many images of the list are read in full (None: all); of
    the others only labels and the header of a photo's file are read. progress advances by one per image.
    """
    progress, pieces = progress or Bar(), data.pieces()
    lost = [f"missing: {p.what}, expected at {p.path}" for p in pieces if p.count is None and not p.optional]
    problems, broken = [*lost, *_copies(data)], set()
    labels, groups, turned, found = Counter(), Counter(), Counter(), _Found()
    unlabelled = 0
    read = len(data.ids) if read is None else min(read, len(data.ids))
    partly = read < len(data.ids)
    for number, image_id in enumerate(data.image_list()):
        wrong: list[str] = []
        classes = _tried(lambda i=image_id: data.labels(i), wrong) or ()
        unlabelled += not classes and not wrong
        labels.update(set(classes))
        groups.update(filter(None, [_tried(lambda i=image_id: data.group(i), wrong)]))
        turned.update(filter(None, [_orientation(data, image_id)]))
        wrong += _labels(classes, len(data.classes))
        if number >= read:
            _tried(lambda i=image_id: _header(data, i), wrong)
        else:
            _tried(lambda i=image_id: validate_sample(data.load(i), side, len(data.classes), data.name), wrong)
            known = _tried(lambda i=image_id: data.annotate(i), wrong) if _annotated(data) else None
            if known is not None:
                wrong += list(_faults(known, side, len(data.classes)))
                _tried(lambda k=known: found.add(k), wrong)
        problems += [f"{image_id}: {text}" for text in dict.fromkeys(wrong)]
        broken |= {image_id} if wrong else set()
        progress.advance()
    without = {"label": unlabelled} | ({} if partly else found.without(data))
    return Check(
        data.name, pieces, len(data.ids), _table(data, labels, found, partly), dict(sorted(groups.items())), without,
        found.outside, dict(sorted(turned.items())), data.skipped_files(), problems, frozenset(broken), read,
    )  # fmt: skip


class _Found:
    """Counts of annotations."""

    def __init__(self):
        self.boxes, self.masks = Counter(), Counter()
        self.no_box = self.no_mask = self.outside = 0

    def add(self, known: Annotation) -> None:
        """Counts the boxes and masks of an image; those without a pixel in the displayed image are not counted."""
        seen = (known.boxes[:, 2] > known.boxes[:, 0]) & (known.boxes[:, 3] > known.boxes[:, 1])
        self.outside += int((~seen).sum())
        self.boxes.update(known.box_labels[seen].tolist())
        own = [label for label, mask in zip(known.box_labels.tolist(), known.instances, strict=False) if mask.any()]
        own = own or [label for label, mask in known.masks.items() if mask.any()]
        self.masks.update(own)
        self.no_box += not seen.any()
        self.no_mask += not own

    def without(self, data: Dataset) -> dict[str, int]:
        """How many images have no annotation of a kind that the data set declares."""
        known = (("box", self.no_box, _has_boxes(data)), ("mask", self.no_mask, _has_masks(data)))
        return {what: number for what, number, there in known if there}


def _annotated(data: Dataset) -> bool:
    return bool(data.knows - {"redraw"})


def _has_boxes(data: Dataset) -> bool:
    return "boxes" in data.knows


def _has_masks(data: Dataset) -> bool:
    return bool(data.knows & {"masks", "instances"})


def _tried(look: Callable, wrong: list[str]):
    """The result of reading an image; None, and one more line in `wrong`, where it raises."""
    try:
        return look()
    except XaibenchError as error:
        wrong.append(one_line(error))
    except Exception as error:  # a plug-in may raise anything, and the other images are checked too
        wrong.append(f"{type(error).__name__}: {one_line(error)}")
    return None


def _header(data: Dataset, image_id: str) -> None:
    """Reads the header of a photo's file, for data sets of photos."""
    placement = getattr(data, "placement", None)
    if placement is not None:
        placement(image_id)


def _orientation(data: Dataset, image_id: str) -> str:
    """How a photo with an EXIF orientation is shown, "" for other images; reading an image reports other errors."""
    try:
        return data.exif_way(image_id)
    except UndecidedOrientation:
        return "undecided"
    except Exception:  # a plug-in may raise anything
        return ""


def _copies(data: Dataset) -> list[str]:
    twice = sorted(image_id for image_id, number in Counter(data.ids).items() if number > 1)
    return [f"{len(twice)} ids are listed more than once, such as {twice[0]}"] if twice else []


def _labels(classes: tuple[int, ...], known: int) -> list[str]:
    strange = [label for label in classes if not 0 <= label < known]
    return [f"label {strange[0]} of {known} classes"] if strange else []


def _faults(known: Annotation, side: int, classes: int) -> Iterator[str]:
    """Errors in the shapes and in the classes of an annotation."""
    boxes, count = known.boxes, len(known.boxes)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or known.box_labels.shape != (count,):
        yield f"boxes are {boxes.shape} with labels {known.box_labels.shape}, not (N, 4) with (N,)"
        return
    if len(boxes) and (boxes.min() < 0 or boxes.max() > side):
        yield f"boxes reach from {boxes.min()} to {boxes.max()}, beyond the {side} displayed pixels"
    named = [*known.box_labels.tolist(), *known.masks, *known.labels]
    strange = [label for label in named if not 0 <= label < classes]
    if strange:
        yield f"annotated class {strange[0]} of {classes} classes"
    if len(known.instances) not in (0, count):
        yield f"{len(known.instances)} masks of instances, but {count} boxes"
    masks = {"instances": known.instances, **{f"objects {name}": m for name, m in known.objects.items()}}
    masks |= {f"mask of class {label}": mask[None] for label, mask in known.masks.items()}
    masks |= {f"part {name}": mask[None] for name, mask in known.parts.items()}
    masks |= {"ignored": known.ignored[None]} if known.ignored is not None else {}
    for name, mask in masks.items():
        if mask.shape[1:] != (side, side) or mask.dtype != np.bool_:
            yield f"{name}: {mask.dtype} {mask.shape[1:]}, not bool {(side, side)}"


def _table(data: Dataset, labels: Counter, found: _Found, partly: bool) -> pd.DataFrame:
    index = range(len(data.classes))
    table = pd.DataFrame({"class": list(data.classes), "images": [labels[i] for i in index]})
    for name, counts, there in (("boxes", found.boxes, _has_boxes(data)), ("masks", found.masks, _has_masks(data))):
        values = [counts[i] for i in index] if there and not partly else [None] * len(index)
        table[name] = pd.array(values, dtype="Int64")
    return table[list(COLUMNS)]
