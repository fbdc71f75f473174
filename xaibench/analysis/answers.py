"""What a design choice changes in a model's answers: accuracy over all images, and over each group of them.

Groups are names that a data set gives its images (`Dataset.group`), such as those whose background misleads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from xaibench.analysis.bootstrap import percentile_interval

if TYPE_CHECKING:
    from xaibench.analysis.comparison import Arm

ALL = "all images"
COLUMNS = ("images", "count", "before", "after", "change", "ci_low", "ci_high", "better", "clear")


def group_names(arm: Arm) -> list[str]:
    """The groups of an arm's images, in order; images without one are in none."""
    return sorted(set(arm.groups) - {""})


def worst_groups(arm: Arm) -> list[float]:
    """Of each training the accuracy in [0, 1] of its worst group; NaN where groups or answers are not known."""
    if arm.answers is None or not group_names(arm):
        return [float("nan")] * arm.trainings
    groups = np.array(arm.groups, dtype=object)
    return [min(float(right[groups == name].mean()) for name in group_names(arm)) for right in arm.answers]


def compare_answers(before: Arm, after: Arm, resamples: int = 2000, seed: int = 0) -> pd.DataFrame | None:
    """The paired comparison of accuracies, with `COLUMNS`: a row for all images that both have and one for each group.

    The interval is the nested bootstrap of `comparison.compare`, drawn within the group. None where the answers of an
    arm are not known.
    """
    from xaibench.analysis.comparison import nested_differences

    if before.answers is None or after.answers is None:
        return None
    shared = sorted(set(before.images) & set(after.images))
    places = [[arm.images.index(image) for image in shared] for arm in (before, after)]
    first, second = (arm.answers[:, rows, None] for arm, rows in zip((before, after), places, strict=True))
    groups = np.array([before.groups[row] for row in places[0]] if before.groups else [""] * len(shared), dtype=object)
    rows = []
    for name in [ALL, *sorted(set(groups.tolist()) - {""})]:
        part = np.ones(len(shared), bool) if name == ALL else groups == name
        low, high = percentile_interval(nested_differences(first[:, part], second[:, part], resamples, seed))
        means = float(first[:, part].mean()), float(second[:, part].mean())
        change, low, high = means[1] - means[0], float(low[0]), float(high[0])
        rows.append((name, int(part.sum()), *means, change, low, high, change > 0, low > 0 or high < 0))
    return pd.DataFrame(rows, columns=list(COLUMNS))
