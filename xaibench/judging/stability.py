"""How stable a protocol's ranking of methods is: over seed, baseline, grid, images and training of the network."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from xaibench.analysis.meta_rank import FEWEST_METHODS
from xaibench.analysis.rank_correlation import order_of, rank_correlation
from xaibench.cards import ProtocolCard

FACTORS = ("seed", "baseline", "grid", "images", "training")
OTHER_BASELINE = {"zero": "blur", "mean": "zero", "blur": "zero"}
OTHER_GRID = {4: 8, 8: 4, 2: 4}


def other_settings(card: ProtocolCard, settings: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Changed settings of a protocol by factor, one for each factor that is a setting of it.

    The baseline is another one, the grid twice as fine or as coarse; what has neither setting has no such factor.
    """
    values = card.parameters | settings
    found = {}
    if values.get("baseline") in OTHER_BASELINE:
        found["baseline"] = {"baseline": OTHER_BASELINE[values["baseline"]]}
    if values.get("grid") in OTHER_GRID and values.get("level", "patch") != "pixel":
        found["grid"] = {"grid": OTHER_GRID[values["grid"]]}
    return found


def kendall(first: np.ndarray, second: np.ndarray) -> float:
    """Kendall's tau-b of two vectors of mean qualities of the same methods; NaN where either is one tie."""
    known = np.isfinite(first) & np.isfinite(second)
    if known.sum() < FEWEST_METHODS:
        return float("nan")
    return float(rank_correlation(order_of(first[known]), order_of(second[known])).tau)


def halves(quality: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean qualities (methods,) on every second image and on the others, of qualities (methods, images)."""
    return tuple(mean_of_known(quality[:, start::2]) for start in (0, 1))


def mean_of_known(quality: np.ndarray) -> np.ndarray:
    """Mean over images (methods,) of qualities (methods, images), of the images at which every method has one; NaN
    where there is no such image."""
    known = np.isfinite(quality).all(axis=0)
    return quality[:, known].mean(axis=1) if known.any() else np.full(len(quality), np.nan)


def meta_rank_tau(boards: Mapping[str, pd.DataFrame]) -> float:
    """Meta-Rank: the mean Kendall's tau over all pairs of boards (images x methods, higher is better), as
    `analysis.meta_rank` has it, without its intervals.

    Of the images that all boards have; NaN with fewer than two boards, or where one is a tie of all methods.
    """
    whole = [board.dropna() for board in boards.values()]
    common = sorted(set.intersection(*(set(board.index) for board in whole))) if whole else []
    if len(whole) < 2 or not common:
        return float("nan")
    means = [board.loc[common, whole[0].columns].mean().to_numpy() for board in whole]
    return float(np.mean([kendall(a, b) for a, b in combinations(means, 2)]))
