"""Accuracies by group, as Waterbirds has them: a model that looks at the background fails where that disagrees.

Groups are names that a data set gives its images (`Dataset.group`): G1 to G4 of Waterbirds. Papers call G3, waterbirds
on land, the worst group; which group that is differs from model to model, so both are given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

PREFIX = "accuracy_"
OVERALL, WORST = "accuracy", "worst_group"


def group_accuracies(right: Sequence[bool], groups: Sequence[str]) -> dict[str, float]:
    """The share of right images, in [0, 1], of each group by name, in the order of names.

    right and groups have one entry per image; images without a group ("") are in none.
    """
    correct, names = np.asarray(right, dtype=bool), np.asarray(groups, dtype=object)
    if correct.shape != names.shape:
        raise ValueError(f"{len(correct)} predictions for {len(names)} groups")
    return {name: float(correct[names == name].mean()) for name in sorted(set(names.tolist()) - {""})}


def worst_group(accuracies: dict[str, float]) -> str:
    """The name of the group with the lowest accuracy, the first of equals."""
    return min(accuracies, key=lambda name: (accuracies[name], name))


def group_metrics(right: Sequence[bool], groups: Sequence[str]) -> dict[str, float]:
    """`accuracy` over all images, and, where images have groups, `worst_group` and `accuracy_NAME` of each."""
    found = group_accuracies(right, groups)
    worst = {WORST: found[worst_group(found)]} if found else {}
    return {OVERALL: float(np.mean(right))} | worst | {PREFIX + name: value for name, value in found.items()}


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (of a sample, n - 1) over runs; the deviation of one run is NaN."""
    numbers = np.asarray(values, dtype=np.float64)
    return float(numbers.mean()), float(numbers.std(ddof=1)) if len(numbers) > 1 else math.nan
