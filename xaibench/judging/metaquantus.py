"""MetaQuantus: consistency of a protocol under small and under disruptive perturbations of the input.

Hedström, Bommer, Wickstrøm, Samek, Lapuschkin, Höhne, The Meta-Evaluation Problem in Explainable AI: Identifying
Reliable Estimators with MetaQuantus, TMLR 2023. Of each method, q are the scores of the images (images,), and q' those
after the input was perturbed, explained and scored anew.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats


class Consistency(NamedTuple):
    """The four criteria in [0, 1], higher is better, and their mean `score`; NaN where one is undefined."""

    intra_noise: float
    intra_adversary: float
    inter_noise: float
    inter_adversary: float

    @property
    def score(self) -> float:
        """The mean of the four: the paper's MC."""
        return float(np.mean(self))


def intra_consistency(quality: np.ndarray, after: np.ndarray) -> float:
    """The p-value of Wilcoxon's signed-rank test of q against q', mean over methods; both (methods, images).

    Near 1 where scores did not move; the adversary criterion is 1 minus it. Differences of zero are split between both
    signs (`zsplit`), as in the published code; where all are zero, p is 1.
    """
    return float(np.mean([
        stats.wilcoxon(a, b, zero_method="zsplit", method="approx").pvalue if np.any(a != b) else 1.0
        for a, b in zip(quality, after, strict=True)
    ]))  # fmt: skip


def inter_noise(quality: np.ndarray, after: np.ndarray) -> float:
    """The share of (image, rank) at which the same method stands before and after; both (methods, images)."""
    return float(np.mean(np.argsort(quality, axis=0, kind="stable") == np.argsort(after, axis=0, kind="stable")))


def inter_adversary(quality: np.ndarray, after: np.ndarray) -> float:
    """The share of (method, image) whose quality is higher before the disruption than after."""
    return float(np.mean(quality > after))


def consistency(quality: np.ndarray, small: np.ndarray, disruptive: np.ndarray) -> Consistency | None:
    """The criteria from qualities (methods, images), and those after a small and after a disruptive perturbation.

    Images with a score that is not defined are left out; None with fewer than two methods or five images left.
    """
    known = np.isfinite(quality).all(0) & np.isfinite(small).all(0) & np.isfinite(disruptive).all(0)
    quality, small, disruptive = (each[:, known] for each in (quality, small, disruptive))
    if len(quality) < 2 or known.sum() < 5:
        return None
    return Consistency(
        intra_consistency(quality, small), 1 - intra_consistency(quality, disruptive),
        inter_noise(quality, small), inter_adversary(quality, disruptive),
    )  # fmt: skip
