"""What contact sheets are given: images of a data set and their annotations, whatever class has these attributes.

`xaibench.Dataset`, `Sample` and `Annotation` have them; what each attribute holds is said there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import numpy as np


class Sample(Protocol):
    """One image (H, W, 3) uint8 with its id and the index of its class."""

    @property
    def image_id(self) -> str: ...
    @property
    def image(self) -> np.ndarray: ...
    @property
    def label(self) -> int: ...


class Annotation(Protocol):
    """Boxes (N, 4) with labels (N,), masks of instances (N, H, W) and of classes (H, W), undecided pixels (H, W)."""

    @property
    def labels(self) -> tuple[int, ...]: ...
    @property
    def boxes(self) -> np.ndarray: ...
    @property
    def box_labels(self) -> np.ndarray: ...
    @property
    def instances(self) -> np.ndarray: ...
    @property
    def masks(self) -> Mapping[int, np.ndarray]: ...
    @property
    def ignored(self) -> np.ndarray | None: ...


class ImageSource(Protocol):
    """A list of image ids with a sample, and perhaps an annotation, for each."""

    @property
    def classes(self) -> Sequence[str]: ...
    @property
    def ids(self) -> Sequence[str]: ...
    @property
    def knows(self) -> Collection[str]: ...
    def image_list(self, count: int | None = None) -> list[str]: ...
    def load(self, image_id: str) -> Sample: ...
    def annotate(self, image_id: str) -> Annotation: ...
