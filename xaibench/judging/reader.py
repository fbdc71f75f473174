"""A fixed reader: told of some networks whether they cheat, it says of others from maps of one method alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm, rankdata

from xaibench.errors import XaibenchError

SQUARES = 8  # squares a side to which the reader reduces a map
PENALTY = 1.0
LEVEL = 0.95


class Auc(NamedTuple):
    """The area under the ROC curve and its 95 % interval."""

    auc: float
    low: float
    high: float


def reading_features(maps: np.ndarray) -> np.ndarray:
    """What the reader sees of networks, (N, 128) float64, of their maps (N, images, H, W) of one method.

    Each map is divided by its largest absolute value, then averaged over 8x8 squares; the features are the means over
    images of these averages, and of those of the absolute map. A map of zeros stays one. Raises XaibenchError for maps
    with values that are not finite, and for sides that 8 does not divide.
    """
    maps = np.asarray(maps, dtype=np.float64)
    if not np.isfinite(maps).all():
        raise XaibenchError("maps for the reader hold NaN or infinity; leave out the method or the network")
    networks, images, height, width = maps.shape
    if height % SQUARES or width % SQUARES:
        raise XaibenchError(f"maps for the reader are {height}x{width}; give sides that {SQUARES} divides")
    largest = np.abs(maps).max(axis=(2, 3), keepdims=True)
    scaled = maps / np.where(largest > 0, largest, 1)
    blocks = (networks, images, SQUARES, height // SQUARES, SQUARES, width // SQUARES)
    signed, absolute = (m.reshape(blocks).mean(axis=(1, 3, 5)) for m in (scaled, np.abs(scaled)))
    return np.concatenate([signed.reshape(networks, -1), absolute.reshape(networks, -1)], axis=1)


def train_and_read(known: np.ndarray, cheats: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """How much like a cheat each unknown network looks, (M,) float64, to a reader trained on known ones.

    known (N, F) and unknown (M, F) are features, cheats (N,) bool. The reader is ridge regression of -1 and 1 on
    standardised features; its penalty is fixed beforehand, so nothing is chosen on the networks that it reads.
    """
    centre, scale = known.mean(0), known.std(0)
    scale = np.where(scale > 1e-12 * np.abs(known).max(initial=1e-300), scale, np.inf)  # constant: says nothing
    x, new = (known - centre) / scale, (unknown - centre) / scale
    goal = np.where(cheats, 1.0, -1.0)
    gram = x @ x.T + PENALTY * len(x) * np.eye(len(x))
    return new @ x.T @ np.linalg.solve(gram, goal - goal.mean())


def held_out_scores(features: np.ndarray, cheats: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """The reader's score of each network (N,), by the reader that was trained on all other folds.

    folds (N,): the fold of each network. Scores of two folds are of two readers, so compare them within a fold.
    """
    scores = np.full(len(features), np.nan)
    for fold in np.unique(folds):
        held = folds == fold
        scores[held] = train_and_read(features[~held], cheats[~held], features[held])
    return scores


def area(scores: np.ndarray, cheats: np.ndarray) -> float:
    """The area under the ROC curve: P(a cheat's score > an honest one's), ties counted half (Mann and Whitney 1947)."""
    positive, negative = int(cheats.sum()), int((~cheats).sum())
    if not positive or not negative:
        raise XaibenchError("an AUC needs networks that cheat and networks that do not; give both")
    return float((rankdata(scores)[cheats].sum() - positive * (positive + 1) / 2) / (positive * negative))


def mean_area(scores: np.ndarray, cheats: np.ndarray, folds: np.ndarray) -> float:
    """The mean over folds of the area under the ROC curve within each."""
    return float(np.mean([area(scores[folds == fold], cheats[folds == fold]) for fold in np.unique(folds)]))


def area_with_interval(scores: np.ndarray, cheats: np.ndarray, folds: np.ndarray) -> Auc:
    """`mean_area` and the interval of all values that it does not contradict at 5 %.

    The variance is that of Hanley and McNeil 1982 at the hypothetical value, as in method 5 of Newcombe 2006, so that
    the interval of a perfect reader has a width too. Folds count as independent.
    """
    sizes = [(int(cheats[folds == fold].sum()), int((~cheats)[folds == fold].sum())) for fold in np.unique(folds)]
    found, z = mean_area(scores, cheats, folds), norm.ppf((1 + LEVEL) / 2)

    def above(value: float) -> float:
        return (value - found) ** 2 - z**2 * _variance(value, sizes)

    # At 0 and 1 the variance is 0 and so is `above`: the ends that are sought lie inside.
    low = 0.0 if found <= 0 else brentq(above, 0.0, found - 1e-9)
    high = 1.0 if found >= 1 else brentq(above, found + 1e-9, 1.0)
    return Auc(found, float(low), float(high))


def _variance(area: float, sizes: Sequence[tuple[int, int]]) -> float:
    """The variance of the mean over folds, of which `sizes` has the numbers of cheats and of others."""
    total = 0.0
    for m, n in sizes:
        more = (m + n) / 2 - 1
        total += area * (1 - area) * (1 + more * ((1 - area) / (2 - area) + area / (1 + area))) / (m * n)
    return total / len(sizes) ** 2
