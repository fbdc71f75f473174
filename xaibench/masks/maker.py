"""Makers of masks: a name, settings with their ranges, and a function from a displayed image to masks."""

from __future__ import annotations

import difflib
import importlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.metadata import version
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from xaibench.datasets.base import Dataset, Sample
from xaibench.errors import XaibenchError

MAKERS = {
    "sam": "xaibench.masks.sam:Sam",
    "sam2": "xaibench.masks.sam:Sam2",
    "slic": "xaibench.masks.slic:Slic",
    "annotations": "xaibench.masks.annotations:Annotated",
}


@dataclass(frozen=True)
class Setting:
    """The default of a setting and the range of its values, which have the type of the default; None is the height of
    the image."""

    default: float | int | str | None
    low: float = 0
    high: float = float("inf")

    def validate(self, name: str, value: Any, side: int) -> Any:
        """A value that is allowed, None taken as the default; raises XaibenchError for others."""
        value = value if value is not None else (side if self.default is None else self.default)
        whole = not isinstance(self.default, float)
        if isinstance(self.default, str):
            if not isinstance(value, str):
                raise XaibenchError(f"{name} is a name, not {value!r}")
            return value
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise XaibenchError(f"{name} is a {'whole ' if whole else ''}number, not {value!r}")
        if not self.low <= value <= self.high:
            raise XaibenchError(f"{name} is a number from {self.low:g} to {self.high:g}, not {value!r}")
        return value if whole else float(value)


@dataclass(frozen=True)
class Tools:
    """Settings that change masks only by rounding, and the place of the network's weights.

    model: a folder or a name of the Hugging Face Hub, None for the maker's own; download: whether it may be fetched;
    device; chunk: points in one pass.
    """

    model: str | None = None
    download: bool = False
    device: str = "cpu"
    chunk: int = 64


USUAL = Tools()


class Maker(ABC):
    """Makes the masks of images of one data set.

    Every maker has the setting min_area, the share of the image below which a mask is dropped. weights is the digest of
    its network's weights, label a description of the maker.
    """

    name: ClassVar[str]
    min_area: ClassVar[float] = 0.01
    parameters: ClassVar[dict[str, Setting]]
    packages: ClassVar[tuple[str, ...]] = ()
    weights: str = ""

    def __init__(self, dataset: Dataset, side: int, settings: dict[str, Any], tools: Tools = USUAL):
        known = self.parameters | {"min_area": Setting(self.min_area, 0, 1)}
        for name in settings:
            if name not in known:
                raise XaibenchError(f"masks by {self.name} have no setting {name!r}; they have {', '.join(known)}")
        self.dataset, self.side, self.tools, self.label = dataset, side, tools, self.name
        self.settings = {name: s.validate(name, settings.get(name), side) for name, s in known.items()}
        self.prepare()

    def prepare(self) -> None:
        """Loads a network or a package; raises XaibenchError where it is missing. This default refuses --model."""
        if self.tools.model is not None:
            raise XaibenchError(f"masks by {self.name} are made without a network; leave out --model")

    @abstractmethod
    def draw(self, sample: Sample) -> np.ndarray:
        """Masks (N, side, side) bool of a displayed image; small ones are dropped later."""

    @property
    def versions(self) -> dict[str, str]:
        """The versions of the packages that masks depend on."""
        return {name: version(name) for name in self.packages}


def make_maker(name: str, dataset: Dataset, side: int, settings: dict[str, Any], tools: Tools = USUAL) -> Maker:
    """The maker of a name; raises XaibenchError with the nearest names, and for settings that it does not have."""
    if name not in MAKERS:
        close = difflib.get_close_matches(name.lower(), MAKERS, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise XaibenchError(f"unknown maker of masks {name!r}; {hint}there are {', '.join(MAKERS)}")
    module, _, attribute = MAKERS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)(dataset, side, settings, tools)


def needed(module: str, extra: str) -> ModuleType:
    """A package of an extra; raises XaibenchError that names the extra where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise XaibenchError(f"masks by {extra} need another package: pip install 'xaibench[{extra}]'") from error
