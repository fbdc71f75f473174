"""What a design choice changes: two arms, each of one or several trainings, evaluated on the same images.

Images are paired; trainings are not, since a seed means nothing to a network of another design. Intervals are those of
`changes.change_intervals`. With few trainings nobody can see whether their means are normal, and an exact permutation
of three against three has no p below .1, so a claim about a design needs `ENOUGH` trainings of each arm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from xaibench.analysis.accuracy import compare_accuracies
from xaibench.analysis.arm import Arm
from xaibench.analysis.changes import change_intervals
from xaibench.analysis.intervals import Bounds
from xaibench.analysis.ranking import RANKED

COLUMNS = ("method", "before", "after", "change", "ci_low", "ci_high", "better", "clear", "kind")
ENOUGH = 5  # trainings an arm, for a claim about a design


@dataclass(frozen=True)
class Comparison:
    """Two arms by method, and over all methods that are ranked.

    table: one row per method that both arms have, by change, with `COLUMNS`: means over trainings and images, change =
    after - before with its 95 % interval (NaN where there is none), better (whether the change is in the better
    direction), clear (whether the interval leaves out 0). change, low, high: of the mean over ranked methods, with the
    interval of that mean.
    improved: how many of the `count` ranked methods get better; clearly, worsened: how many get better, or worse, with
    an interval that leaves out 0. agreement: Kendall's tau-b of the two arms' orders of ranked methods, NaN for fewer
    than two. missing: methods that only one arm has. images: the number of images that both arms have. trainings: the
    number of trainings of each arm. accuracy_changes: what changes in accuracy, as `accuracy.compare_accuracies` gives
    it; None where that is not known. confounded: whether the arms differ in more than a design.
    """

    before: str
    after: str
    table: pd.DataFrame
    change: float
    low: float
    high: float
    improved: int
    clearly: int
    worsened: int
    count: int
    agreement: float
    missing: tuple[str, ...]
    images: int
    trainings: tuple[int, int]
    accuracy_changes: pd.DataFrame | None = None
    confounded: bool = False

    @property
    def enough(self) -> bool:
        """Whether there are enough trainings for a claim about the design: five an arm, which differ in it alone."""
        return min(self.trainings) >= ENOUGH and not self.confounded


def compare(
    before: Arm, after: Arm, higher: bool = True, bounds: Bounds | None = None, resamples: int = 2000, seed: int = 0
) -> Comparison:
    """The paired comparison of two arms over the images and methods that both have.

    higher: whether higher scores are better. bounds: the least and the largest possible score, if known. Raises
    ValueError for arms without an image or a method in common.
    """
    from scipy.stats import kendalltau

    images = sorted(set(before.images) & set(after.images))
    methods = [name for name in before.methods if name in set(after.methods)]
    if not images or not methods:
        raise ValueError(f"{before.name} and {after.name} have no image and method in common")
    first, second = (_part(arm, images, methods) for arm in (before, after))
    kinds = [before.kinds[before.methods.index(name)] for name in methods]
    ranked = np.array([kind in RANKED for kind in kinds])
    low, high = change_intervals(first, second, bounds, resamples, seed)
    means = first.mean(axis=(0, 1)), second.mean(axis=(0, 1))
    change = means[1] - means[0]
    better = change > 0 if higher else change < 0
    clear = (low > 0) | (high < 0)
    table = pd.DataFrame({
        "method": methods, "before": means[0], "after": means[1], "change": change, "ci_low": low, "ci_high": high,
        "better": better, "clear": clear, "kind": kinds,
    })  # fmt: skip
    table = table.sort_values(["change", "method"], ascending=[not higher, True])[list(COLUMNS)].reset_index(drop=True)
    ends = (np.nan, np.nan)
    if ranked.any():
        overall = [arm[..., ranked].mean(axis=-1, keepdims=True) for arm in (first, second)]
        ends = np.concatenate(change_intervals(*overall, bounds, resamples, seed))
    tau = kendalltau(means[0][ranked], means[1][ranked]).statistic if ranked.sum() > 1 else np.nan
    return Comparison(
        before.name, after.name, table, float(change[ranked].mean()) if ranked.any() else float("nan"),
        float(ends[0]), float(ends[1]), int(better[ranked].sum()), int((better & clear)[ranked].sum()),
        int((~better & clear)[ranked].sum()),
        int(ranked.sum()), float(tau), tuple(sorted(set(before.methods) ^ set(after.methods))), len(images),
        (before.trainings, after.trainings), compare_accuracies(before, after, resamples, seed),
    )  # fmt: skip


def spread(arms: Sequence[Arm]) -> pd.DataFrame:
    """How much scores vary between trainings: per method the mean and standard deviation (n - 1) of the means.

    arms: of one design, together two trainings or more, over the images and methods that all have. Columns method,
    mean, deviation, lowest, highest, trainings, kind.
    """
    images = sorted(set.intersection(*(set(arm.images) for arm in arms)))
    shared = set.intersection(*(set(arm.methods) for arm in arms))
    methods = [name for name in arms[0].methods if name in shared]
    means = np.concatenate([_part(arm, images, methods).mean(axis=1) for arm in arms])
    kinds = [arms[0].kinds[arms[0].methods.index(name)] for name in methods]
    table = pd.DataFrame({
        "method": methods, "mean": means.mean(axis=0), "deviation": means.std(axis=0, ddof=1),
        "lowest": means.min(axis=0), "highest": means.max(axis=0), "trainings": len(means), "kind": kinds,
    })  # fmt: skip
    return table.sort_values(["mean", "method"], ascending=[False, True]).reset_index(drop=True)


def _part(arm: Arm, images: list[str], methods: list[str]) -> np.ndarray:
    """The scores of some images and methods, (trainings, images, methods)."""
    rows, columns = ({name: place for place, name in enumerate(names)} for names in (arm.images, arm.methods))
    return arm.scores[:, [rows[i] for i in images]][:, :, [columns[m] for m in methods]]
