"""Whether boards order methods alike: rank correlations of boards, and how far their images let them agree at all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from xaibench.analysis.bootstrap import LEVEL, bootstrap_means
from xaibench.analysis.rank_correlation import order_of, rank_correlation
from xaibench.errors import XaibenchError
from xaibench.presentation import Presentable
from xaibench.seeds import derive

COLUMNS = ("first", "second", "tau", "tau_low", "tau_high", "rho", "rho_low", "rho_high", "corrected", "status",
           "n_methods", "n_images")  # fmt: skip
BOARD_COLUMNS = ("name", "reliability", "n_methods", "n_images", "title")
RESAMPLES, SPLITS = 1000, 200
FEWEST_METHODS = 3  # two methods can only agree or not
FEWEST_IMAGES = 4  # two halves of two
UNDEFINED = "undefined"


@dataclass(frozen=True)
class Agreement(Presentable):
    """How boards agree on the order of methods, two by two.

    table: one row per pair of boards with `COLUMNS`: Kendall's tau-b and Spearman's rho of the mean scores of the
    methods that both rank, on the images that both have, +1 for the same order from best to worst; the ends of their
    percentile intervals over images; corrected, rho without what so few images take from it, at most 1; status, why
    it is undefined or what was cut. boards: one row per board with `BOARD_COLUMNS`, in the order of the clusters:
    reliability is the rho to be expected between its order and that of as many other images. across: what the boards
    differ in. notes: what was left out.
    """

    layout: ClassVar[str] = "agreement"

    table: pd.DataFrame
    boards: pd.DataFrame
    across: str
    title: str
    notes: tuple[str, ...]

    @property
    def matrix(self) -> pd.DataFrame:
        """tau of every two boards, in the order of the clusters; 1 on the diagonal, NaN where it is undefined."""
        names = self.boards["name"].tolist()
        return _square(self.table, names)

    @cached_property
    def tree(self) -> np.ndarray:
        """The clusters as SciPy's linkage matrix (boards - 1, 4): average linkage of distances 1 - tau, an undefined
        tau as 0; leaves are the rows of `boards`."""
        return _tree(self.matrix)


def agreement(
    scores: dict[str, pd.DataFrame], higher: dict[str, bool], *, across: str = "protocol", title: str = "",
    titles: dict[str, str] | None = None, notes: tuple[str, ...] = (), seed: int = 0,
) -> Agreement:  # fmt: skip
    """How boards agree.

    Args:
        scores: of each board by its name, one row per image and one column per ranked method, finite.
        higher: whether higher scores are better on each board.
        title, titles: what is compared, and of each board.
        seed: of the resampled images and of the halves.

    Raises XaibenchError for fewer than two boards.
    """
    if len(scores) < 2:
        raise XaibenchError("agreement needs two boards or more")
    best_up = {name: frame if higher[name] else -frame for name, frame in scores.items()}
    orders = _Orders(best_up, seed)
    table = pd.DataFrame([_pair(*two, orders) for two in combinations(best_up, 2)], columns=list(COLUMNS))
    lost = int((table["tau"].isna()).sum())
    if lost:
        notes = (*notes, f"{lost} of {len(table)} pairs of boards have no rank correlation; the clusters take it as 0")
    names = list(best_up)
    rows = [
        (name, _reliability(frame.to_numpy(np.float64), seed), frame.shape[1], len(frame), (titles or {}).get(name, ""))
        for name, frame in best_up.items()
    ]
    boards = pd.DataFrame(rows, columns=list(BOARD_COLUMNS)).set_index("name", drop=False)
    order = leaves_list(_tree(_square(table, names)))
    boards = boards.loc[[names[place] for place in order]].reset_index(drop=True)
    return Agreement(table, boards, across, title, notes)


def _square(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    found = pd.DataFrame(np.eye(len(names)), index=names, columns=names)
    for row in table.itertuples():
        found.loc[row.first, row.second] = found.loc[row.second, row.first] = row.tau
    return found


def _tree(taus: pd.DataFrame) -> np.ndarray:
    distances = 1 - np.nan_to_num(taus.to_numpy())
    np.fill_diagonal(distances, 0)
    return linkage(squareform(distances, checks=False), "average", optimal_ordering=True)


class _Orders:
    """Orders of boards, each computed once for the methods and images that it is asked about."""

    def __init__(self, scores: dict[str, pd.DataFrame], seed: int):
        self.scores, self._seed = scores, seed
        self._resampled: dict[tuple, np.ndarray] = {}
        self._halves: dict[tuple, tuple[np.ndarray, np.ndarray]] = {}

    def resampled(self, name: str, methods: tuple[str, ...], images: tuple[str, ...]) -> np.ndarray:
        """Orders (resamples, K, K) of means over resampled images, the same for all boards."""
        key = name, methods, images
        if key not in self._resampled:
            self._resampled[key] = order_of(bootstrap_means(self.of(*key), RESAMPLES, self._seed))
        return self._resampled[key]

    def halves(self, name: str, methods: tuple[str, ...], images: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Orders of means over halves of the images, the same for all boards; see `halves_of`."""
        key = name, methods, images
        if key not in self._halves:
            self._halves[key] = halves_of(self.of(*key), self._seed)
        return self._halves[key]

    def of(self, name: str, methods: tuple[str, ...], images: tuple[str, ...]) -> np.ndarray:
        """The scores (images, methods)."""
        return self.scores[name].loc[list(images), list(methods)].to_numpy(np.float64)


def _pair(first: str, second: str, orders: _Orders) -> tuple[Any, ...]:
    """The row of two boards."""
    one, other = orders.scores[first], orders.scores[second]
    methods = tuple(sorted(set(one) & set(other)))
    images = tuple(sorted(set(one.index) & set(other.index)))
    counts = len(methods), len(images)
    undefined = first, second, *(np.nan,) * 7
    if len(methods) < FEWEST_METHODS or not images:
        few = f"{len(methods)} methods in common" if images else "no image in common"
        return *undefined, f"{UNDEFINED}: {few}", *counts
    raw = rank_correlation(*(order_of(orders.of(name, methods, images).mean(axis=0)) for name in (first, second)))
    if not np.isfinite(raw.tau):
        return *undefined, f"{UNDEFINED}: all methods tie", *counts
    drawn = rank_correlation(*(orders.resampled(name, methods, images) for name in (first, second)))
    tau, rho = (_ends(part) for part in drawn)
    if len(images) < FEWEST_IMAGES:
        corrected, status = float("nan"), f"{UNDEFINED}: {len(images)} images have no halves"
    else:
        corrected, status = disattenuated(*(orders.halves(name, methods, images) for name in (first, second)),
                                          (first, second))  # fmt: skip
    return first, second, float(raw.tau), *tau, float(raw.rho), *rho, corrected, status, *counts


def _ends(values: np.ndarray) -> tuple[float, float]:
    """The ends of the percentile interval, without resamples in which all methods tie."""
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)


def disattenuated(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray],
    names: tuple[str, str] = ("first", "second"),
) -> tuple[float, str]:  # fmt: skip
    """Spearman's rho of two boards without what the choice of images takes from it, and a status.

    Spearman's correction for attenuation (1904), from halves of the images: mean rho between the first board's order
    on one half and the second's on the other, over the geometric mean of both boards' rho between halves. Both boards
    never see the same image in one rho: on the same images their errors go together, and the correction of the rho
    of whole boards by Spearman-Brown reliabilities is far above 1 (`docs/agreement.md` has the simulation).

    Args:
        first, second: orders (splits, K, K) of each board on one half of the images and on the other, of the same
            splits for both boards.
        names: of the boards, for the status.

    Returns a number in [-1, 1], NaN where it is undefined, and why it is, or from what it was cut; "" else.
    """
    own = [_mean(rank_correlation(*half).rho) for half in (first, second)]
    for name, rho in zip(names, own, strict=True):
        if not rho > 0:
            return float("nan"), f"{UNDEFINED}: {name} has no reliability ({rho:.2f} between halves)"
    (a, b), (c, d) = first, second
    crossed = _mean(np.stack([rank_correlation(a, d).rho, rank_correlation(b, c).rho]))
    value = float(crossed / np.sqrt(own[0] * own[1]))
    status = f"cut from {value:.2f}" if round(abs(value), 2) > 1 else ""  # not "cut from 1.00", which is rounding
    return float(np.clip(value, -1, 1)), status


def _mean(values: np.ndarray) -> float:
    """The mean of the finite values, NaN where there is none."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def halves_of(scores: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Orders (splits, K, K) of means over one half of the images (images, methods) and the other, at random.

    The halves depend on the seed and the number of images alone.
    """
    rng, half = np.random.default_rng(derive(seed, "halves of the images")), len(scores) // 2
    means = np.empty((2, SPLITS, scores.shape[1]))
    for split in range(SPLITS):
        drawn = rng.permutation(len(scores))
        means[:, split] = scores[drawn[:half]].mean(axis=0), scores[drawn[half : 2 * half]].mean(axis=0)
    return order_of(means[0]), order_of(means[1])


def _reliability(scores: np.ndarray, seed: int) -> float:
    """Of a board's order: rho between halves of its images, stepped up to all of them (Spearman-Brown, 1910)."""
    if len(scores) < FEWEST_IMAGES or scores.shape[1] < FEWEST_METHODS:
        return float("nan")
    rho = _mean(rank_correlation(*halves_of(scores, seed)).rho)
    return 2 * rho / (1 + rho) if rho > -1 else float("nan")
