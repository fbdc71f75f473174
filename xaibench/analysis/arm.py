"""One side of a comparison of designs: the scores and accuracies of its trainings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xaibench.analysis.ranking import RANKED


@dataclass(frozen=True)
class Arm:
    """One side of a comparison.

    scores: (trainings, images, methods) float64, methods and images in the order of their names. methods and kinds: of
    the last axis. accuracies: of each training, in [0, 1], NaN where unknown. accuracy_of: the images that these
    accuracies were measured on, such as `validation images`. correct: (trainings, images) bool, whether the prediction
    of a training is right; None where that is not known. groups: the name of each image's group, "" for none; empty
    where images have none. seconds: of an epoch of each training, without evaluation, NaN where unknown.
    """

    name: str
    scores: np.ndarray
    methods: tuple[str, ...]
    kinds: tuple[str, ...]
    images: tuple[str, ...]
    accuracies: tuple[float, ...] = ()
    accuracy_of: str = ""
    correct: np.ndarray | None = None
    groups: tuple[str, ...] = ()
    seconds: tuple[float, ...] = ()

    @property
    def trainings(self) -> int:
        """The number of trainings."""
        return len(self.scores)

    def ranked(self, method: str = "") -> list[bool]:
        """Which methods are ranked, and of this name if one is given."""
        return [kind in RANKED and method in ("", name) for name, kind in zip(self.methods, self.kinds, strict=True)]

    def best(self, higher: bool = True) -> list[tuple[str, float]]:
        """For each training the ranked method with the best mean over images, and that mean.

        higher: whether higher scores are better.
        """
        ranked = np.flatnonzero(self.ranked())
        found = []
        for scores in self.scores:
            means = scores.mean(axis=0)[ranked]
            place = int(means.argmax() if higher else means.argmin())
            found.append((self.methods[ranked[place]], float(means[place])))
        return found
