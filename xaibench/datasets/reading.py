"""Shared by readers of published layouts: folders, tables of text, splits, boxes, and torchvision's downloads."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from xaibench.datasets.annotated import check_files
from xaibench.datasets.base import Annotation
from xaibench.datasets.placement import Placement
from xaibench.errors import XaibenchError, did_you_mean, one_line
from xaibench.seeds import derive

SPLITS = ("train", "val", "trainval", "test")
HELD_OUT = 10


def one_of(what: str, value: object, known: Sequence[str]) -> str:
    """A value, if it is one of the known ones; raises XaibenchError with the nearest ones. what: such as `cub:
    split`."""
    if value in known:
        return str(value)
    close = did_you_mean(str(value), known, most=2)
    raise XaibenchError(f"{what} {value!r} is unknown; {close and close + ' '}known are {', '.join(known)}")


def find_folder(root: str | Path, names: Sequence[str], holds: str) -> Path:
    """root itself or its folder of one of these names, whichever has the file `holds`.

    Raises XaibenchError where none has.
    """
    root = Path(root)
    if not root.is_dir():
        raise XaibenchError(f"--data-root {root} is not a folder")
    for folder in (root, *(root / name for name in names)):
        if (folder / holds).is_file():
            return folder
    inside = " or ".join(f"{name}/{holds}" for name in names)
    raise XaibenchError(f"{root} has no {holds}, nor {inside}; pass the folder with the data by --data-root")


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, without the byte order mark that programs of Windows put first.

    Raises XaibenchError where it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise XaibenchError(f"{path} cannot be read: {reason}; restore it from the data set's archive") from error


def read_table(path: Path, columns: Sequence[str]) -> dict[str, list[str]]:
    """The rows of a text file, split at white space, by their first column: the other columns, at least one row.

    Raises XaibenchError that names the file and the line for a wrong number of columns and for a row that comes twice.
    """
    rows: dict[str, list[str]] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != len(columns):
            raise XaibenchError(f"{path}:{number}: {len(fields)} columns, not {len(columns)}: {', '.join(columns)}")
        if fields[0] in rows:
            raise XaibenchError(f"{path}:{number}: {columns[0]} {fields[0]} is listed twice; remove one of the lines")
        rows[fields[0]] = fields[1:]
    if not rows:
        raise XaibenchError(f"{path} is empty; restore it from the data set's archive")
    return rows


def whole(text: str, known: Iterable[int], where: str) -> int:
    """A whole number, if it is one of these; raises XaibenchError that begins with `where`."""
    known = list(known)
    if text in {str(n) for n in known}:
        return int(text)
    allowed = f"{known[0]} to {known[-1]}" if len(known) > 3 else " or ".join(map(str, known))
    raise XaibenchError(f"{where} is {text!r}, not {allowed}")


def in_split(image_id: str, split: str) -> bool:
    """Whether a training image belongs to `train`, `val` or `trainval`: one in HELD_OUT, by a hash of its id, is `val`.

    For data sets that are published without validation images.
    """
    held_out = derive(0, "validation", image_id) % HELD_OUT == 0
    return split == "trainval" or (split == "val") == held_out


def check_photos(paths: Sequence[Path], listed: Path) -> None:
    """Raises XaibenchError where listed photos do not exist, and where a file lists none."""
    if not paths:
        raise XaibenchError(f"{listed} lists no photo of this split; choose another by --dataset-option split=NAME")
    check_files(paths, listed)


def tight_boxes(masks: np.ndarray) -> np.ndarray:
    """(N, 4) int64: the tight box x0 y0 x1 y1, ends exclusive, of each of the masks (N, H, W) bool; none is empty."""
    boxes = []
    for mask in masks:
        x, y = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        boxes.append((x[0], y[0], x[-1] + 1, y[-1] + 1))
    return np.array(boxes, dtype=np.int64).reshape(-1, 4)


def one_object(
    placement: Placement, label: int, boxes: np.ndarray, mask: np.ndarray | None, **more: object
) -> Annotation:
    """The annotation of a photo of one object: its boxes (1, 4), or (0, 4), and its mask (height, width) bool, or None,
    in the photo's pixels. The object is the level `annotated`. more: further fields of `Annotation`."""
    empty = np.zeros((0, placement.height, placement.width), dtype=bool)
    instances = placement.masks(empty if mask is None else mask[None])
    labels = np.full(len(boxes), label, dtype=np.int64)
    return Annotation((label,), placement.boxes(boxes), labels, instances, {"annotated": instances}, **more)


def fetch(dataset: str, get: Callable[[], object]) -> None:
    """Fetches a data set by torchvision, whose output goes to standard error.

    Raises XaibenchError on one line where it cannot, as without a network.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            get()
    except (OSError, RuntimeError, EOFError) as error:
        raise XaibenchError(f"data set {dataset} could not be fetched: {one_line(error, 300)}") from error
