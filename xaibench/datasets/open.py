"""From a data set's card to the data set."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.cards import DatasetCard
from xaibench.datasets import red_dot
from xaibench.datasets.base import Dataset, check_names
from xaibench.errors import XaibenchError, one_line
from xaibench.files import make_folder

PLACES = frozenset({"root", "geometry", "size"})  # what a constructor takes that is no option


def parameters_of(card: DatasetCard, options: dict[str, Any], part: str = "test") -> dict[str, Any]:
    """The constructor's parameters for the images of evaluation (test), training or validation."""
    own = {"test": {}, "train": card.train_parameters, "validation": card.validation_parameters}[part]
    return card.parameters | own | options


def drops_parts(card: DatasetCard) -> bool:
    """Whether a data set can draw its training images without some parts, by the option `drop_parts`."""
    return "drop_parts" in _parameters(card, registry.load(card))


def options_of(card: DatasetCard) -> dict[str, Any]:
    """What a data set can be opened with, by name: the value of the card or the default; None where there is none.

    Raises XaibenchError where the card's target makes no data set.
    """
    taken = _parameters(card, registry.load(card))
    own = {name: None if one.default is one.empty else one.default for name, one in taken.items()}
    own = {name: value for name, value in own.items() if name not in PLACES}
    return own | card.parameters | dict.fromkeys(red_dot.OPTIONS)


def _parameters(card: DatasetCard, make: Any) -> Mapping[str, inspect.Parameter]:
    """What a constructor takes."""
    try:
        return inspect.signature(make).parameters
    except (TypeError, ValueError) as error:
        raise XaibenchError(f"data set {card.name} cannot be opened: {card.target} makes no data set") from error


def fetch_dataset(card: DatasetCard, root: Path | None, options: dict[str, Any]) -> None:
    """Fetches a data set from its source into root, by its own `download`, with the parameters that it is opened with.

    Raises XaibenchError where it has no root or no `download`, or where its source or the network does not allow it.
    """
    make = registry.load(card)
    if not card.needs_root or not hasattr(make, "download"):
        raise XaibenchError(f"data set {card.name} has nothing to fetch; leave out --download")
    if root is None:
        raise XaibenchError(f"--download needs --data-root, the folder to put data set {card.name} into")
    make_folder(root)
    parameters = parameters_of(card, options)
    make.download(root, **{name: value for name, value in parameters.items() if name not in red_dot.OPTIONS})


def open_dataset(card: DatasetCard, root: Path | None, options: dict[str, Any], part: str = "test") -> Dataset:
    """The data set of a card; options override the card's parameters (such as `rule` of `critters`).

    Every data set has the options of `red_dot`, which mark one class. Raises XaibenchError where the data set needs a
    root and has none, where it reads no folder and has a root, and for options that it does not have.
    """
    make = registry.load(card)
    known = _parameters(card, make).keys() - PLACES
    for name in options:
        if name not in known and name not in red_dot.OPTIONS:
            own = f"it has {', '.join(sorted(known))}, " if known else ""
            every = f"{own}and every data set has {', '.join(red_dot.OPTIONS)}"
            raise XaibenchError(f"data set {card.name} has no option {name!r}; {every}")
    parameters = parameters_of(card, options, part)
    mark = {name: parameters.pop(name) for name in red_dot.OPTIONS if name in parameters}
    if card.needs_root and root is None:
        raise XaibenchError(f"data set {card.name} needs --data-root, the folder with its images")
    if root is not None and not card.needs_root:
        raise XaibenchError(
            f"data set {card.name} reads no folder; leave out --data-root, or name the data set of the photos in "
            f"{root} by --dataset, such as imagefolder"
        )
    where = {"root": root} if card.needs_root else {}
    sized = card.needs_root or "geometry" in _parameters(card, make)
    where |= {"geometry": card.geometry} if sized else {"size": card.geometry.crop}
    try:
        dataset = make(**where, **parameters)
        check_names(dataset.classes, f"data set {card.name}: the class")
        check_names(dataset.ids, f"data set {card.name}: the image")
    except (XaibenchError, OSError, MemoryError):
        raise
    except Exception as error:
        if not registry.source(card):
            raise  # a defect of xaibench
        raise XaibenchError(
            f"data set {card.name} cannot be opened: {type(error).__name__}: {one_line(error)}"
        ) from error
    return red_dot.mark(dataset, card.geometry, mark) if mark else dataset
