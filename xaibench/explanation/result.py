"""The result of `xaibench.explain`: a photo as it is displayed, the most probable classes, and maps."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Guess:
    """A class of the model: its index, its name (`class 17` where it has none), and its probability in [0, 1]."""

    index: int
    name: str
    probability: float

    def __str__(self) -> str:
        return f"{self.name} {self.chance}"

    @property
    def chance(self) -> str:
        """The probability with two digits, `<0.01` where these would be 0.00."""
        return f"{self.probability:.2f}" if self.probability >= 0.005 else "<0.01"


@dataclass(frozen=True)
class Explanation:
    """One photo as it is displayed, and the map of each method.

    image (H, W, 3) uint8 are the displayed pixels. top are the most probable classes, best first; target is the class
    that is explained. maps are attributions (H, W) by method, signed and unnormalised, at the image's size; skipped and
    failed are the reasons why a method has no map; warnings are about the model. model and dataset are descriptions of
    the model and of the crop. region (h, w) bool has the places of a segmentation network over which the class is
    explained, None where that is all of them or the network is a classifier.
    """

    image_id: str
    image: np.ndarray
    top: tuple[Guess, ...]
    target: Guess
    model: str
    dataset: str
    maps: dict[str, Tensor] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    region: np.ndarray | None = None

    @property
    def prediction(self) -> Guess:
        """The most probable class."""
        return self.top[0]

    def _repr_html_(self) -> str:
        """What a notebook shows: the photo with its maps, and what is missing."""
        return Explanations([self])._repr_html_()


class Explanations(list[Explanation]):
    """Explanations in the order of their photos: a list that a notebook shows as one picture."""

    def _repr_html_(self) -> str:
        from xaibench.presentation import notebook_html
        from xaibench.report.panel_html import panel_html

        return notebook_html(panel_html(self))
