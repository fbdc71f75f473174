"""The inputs of `xaibench.explain`: photos, or images of a data set, and classes by name or index."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xaibench.cards import DatasetCard
from xaibench.datasets.base import Dataset
from xaibench.datasets.exif import RAW, UPRIGHT, WAYS
from xaibench.datasets.imagenet import class_names
from xaibench.datasets.images import displayed, read_image
from xaibench.datasets.open import open_dataset
from xaibench.datasets.photos import AUTO
from xaibench.datasets.reading import one_of
from xaibench.errors import XaibenchError


def opened_data(
    data: DatasetCard, root: Path | None, options: Mapping[str, Any]
) -> tuple[Dataset | None, Sequence[str] | None]:
    """The data set with some options where it can be opened, and its class names where they are known.

    Raises XaibenchError for options, other than `exif`, of a data set that is not opened.
    """
    if root is not None or not data.needs_root:
        opened = open_dataset(data, root, dict(options))
        return opened, opened.classes
    if unused := [name for name in options if name != "exif"]:
        raise XaibenchError(f"--dataset-option {unused[0]} is of the images of {data.name}, which need --data-root")
    return None, class_names() if data.name == "imagenet" else None


def read_photo(
    photo: str | Path, data: DatasetCard, known: Dataset | None, exif: object = AUTO
) -> tuple[str, np.ndarray]:
    """Image id and displayed pixels (H, W, 3) uint8 of a photo: a file, or an image of the data set.

    exif: `raw` shows a file as it is stored, `upright` and `auto` turn it upright.
    """
    way = one_of("exif", exif, (AUTO, *WAYS))
    if Path(photo).is_file():
        return Path(photo).name, displayed(read_image(Path(photo), RAW if way == RAW else UPRIGHT), data.geometry)
    if known is not None and str(photo) in set(known.ids):
        return str(photo), known.load(str(photo)).image
    other = f", nor an image id of {data.name}, such as {known.ids[0]}" if known is not None else ""
    kind = "is a folder" if Path(photo).is_dir() else "is no file"
    raise XaibenchError(f"photo {photo} {kind}{other}")


def names_of_classes(classes: Sequence[str] | None, count: int) -> list[str]:
    """A name for each class of the model; numbers where its classes are not those of the data set."""
    known = classes is not None and len(classes) == count
    return list(classes) if known else [f"class {index}" for index in range(count)]


def target_index(target: int | str, names: list[str]) -> int:
    """The class of an index or a name.

    Raises XaibenchError with the nearest names where there is none, and for a number in text that is the index of one
    class and the name of another.
    """
    is_index = isinstance(target, int) or target.lstrip("-").isdecimal()
    exact = [index for index, name in enumerate(names) if name == target]  # none for an int
    if is_index and len(exact) == 1 and exact[0] != int(target):
        if not 0 <= int(target) < len(names):
            return exact[0]
        raise XaibenchError(
            f"--target {target} is the index of class {names[int(target)]!r} and the name of class number {exact[0]}; "
            "in Python, an int is an index"
        )
    if is_index:
        if not 0 <= int(target) < len(names):
            raise XaibenchError(f"--target {target} is no class: the model has {len(names)}, from 0")
        return int(target)
    fits = [index for index, name in enumerate(names) if name.lower() == target.lower()]
    if len(fits) > 1:
        raise XaibenchError(f"--target {target!r} is the name of several classes: {', '.join(map(str, fits))}")
    if not fits:
        close = difflib.get_close_matches(target.lower(), [name.lower() for name in names], n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"name one of {len(names)}, or its index"
        raise XaibenchError(f"--target {target!r} is no class; {hint}")
    return fits[0]
