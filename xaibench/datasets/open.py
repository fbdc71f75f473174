"""From a data set's card to the data set."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.cards import DatasetCard
from xaibench.datasets.base import Dataset
from xaibench.errors import XaibenchError


def parameters_of(card: DatasetCard, options: dict[str, Any], part: str = "test") -> dict[str, Any]:
    """The constructor's parameters for the images that are evaluated (test), learnt from or validated on."""
    own = {"test": {}, "train": card.train_parameters, "validation": card.validation_parameters}[part]
    return card.parameters | own | options


def open_dataset(card: DatasetCard, root: Path | None, options: dict[str, Any], part: str = "test") -> Dataset:
    """The data set of a card; options override the card's parameters (such as the rule of class of `critters`).

    Raises XaibenchError where the data set needs a root and has none, and for options that it does not have.
    """
    make = registry.load(card)
    known = set(inspect.signature(make).parameters) - {"root", "geometry", "size"}
    for name in options:
        if name not in known:
            raise XaibenchError(f"data set {card.name} has no option {name!r}; it has {', '.join(sorted(known))}")
    parameters = parameters_of(card, options, part)
    if not card.needs_root:
        return make(size=card.geometry.crop, **parameters)
    if root is None:
        raise XaibenchError(f"data set {card.name} needs --data-root, the folder with its images")
    return make(root=root, geometry=card.geometry, **parameters)
