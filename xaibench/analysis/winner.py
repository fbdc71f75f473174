"""The winner's curse: the best of several means is too good, as the method was chosen on the images it is quoted for.

The honest quote chooses the best method on one half of the images and takes its mean on the other half, over many
splits into halves. It has no bias for the method chosen on half as many images, which for methods that are far apart
is the same one, so it is a little too low at worst. Compared by simulation with leave-one-out, four folds, out-of-bag
images and the bootstrap's correction, it has the smallest error where methods are close.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from xaibench.analysis.bootstrap import BLOCK, TIE, require_scores
from xaibench.seeds import derive

FEWEST = 8  # images; a choice on fewer than four says little
SPLITS = 1000
DRAWS = 5_000_000  # of images; lists of more than 5000 images are split less often for it, which they bear


@dataclass(frozen=True)
class Winner:
    """The best method of a board. mean: on all images, which it was chosen on; held_out: the mean of the best method
    on images that it was not chosen on, in the score's unit; chosen: share of the choices, in [0, 1], that took this
    method; splits: into halves, each of which chooses once."""

    method: str
    mean: float
    held_out: float
    chosen: float
    splits: int


def winner(table: pd.DataFrame, scores: pd.DataFrame, higher: bool = True) -> Winner | None:
    """The best ranked method of a board; None with fewer than two ranked methods, or fewer than 8 images.

    table: the board's, best first, with `method`, `mean` and `rank`; scores: (images, methods) by name, NaN where there
    is none; images without one of a ranked method are left out.
    """
    ranked = table[table["rank"].notna()]
    scores = scores[ranked["method"].tolist()].dropna()
    if len(ranked) < 2 or len(scores) < FEWEST:
        return None
    splits = min(SPLITS, max(SPLITS // 10, DRAWS // len(scores)))
    held_out, chosen = held_out_mean(scores.to_numpy(), higher, splits)
    return Winner(ranked["method"].iloc[0], float(ranked["mean"].iloc[0]), held_out, chosen, splits)


def held_out_mean(scores: np.ndarray, higher: bool = True, splits: int = SPLITS, seed: int = 0) -> tuple[float, float]:
    """Mean of the method that is best on one half of the images, on the other half; and how often that is the method
    with the best mean of all images, a share in [0, 1].

    Args:
        scores: (images, methods), finite; columns with the same scores count as one method.
        higher: whether higher scores are better.
        splits, seed: into two halves at random (of an odd number of images one half has one more); either half
            chooses once. Which splits these are depends on the seed and the number of images only.

    Raises ValueError for fewer than two images, no method, or scores that are not finite.
    """
    scores = require_scores(scores)
    if len(scores) < 2 or not scores.shape[1]:
        raise ValueError(f"two halves need two images and a method, not scores of the shape {scores.shape}")
    images, half = len(scores), len(scores) // 2
    signed, total = (scores if higher else -scores), scores.sum(axis=0)
    best = scores[:, [signed.sum(axis=0).argmax()]]
    same_as_best = (np.abs(scores - best) <= TIE * np.maximum(1.0, np.abs(best))).all(axis=0)
    rng = np.random.default_rng(derive(seed, "halves of the images"))
    quoted, same = [], []
    for start in range(0, splits, rows := max(1, BLOCK // images)):
        order = rng.permuted(np.tile(np.arange(images), (min(rows, splits - start), 1)), axis=1)
        member = np.zeros(order.shape)
        np.put_along_axis(member, order[:, :half], 1.0, axis=1)
        first = member @ scores
        means = (first / half, (total - first) / (images - half))
        for own, other in (means, means[::-1]):
            winner = (own if higher else -own).argmax(axis=1)
            quoted.append(np.take_along_axis(other, winner[:, None], axis=1))
            same.append(same_as_best[winner])
    return float(np.concatenate(quoted).mean()), float(np.concatenate(same).mean())
