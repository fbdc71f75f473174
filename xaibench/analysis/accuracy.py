"""What a design choice changes in a model's accuracy: over all images, and over each group of them.

Groups are names that a data set gives its images (`Dataset.group`), such as those with a spuriously correlated
background.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from xaibench.analysis.arm import Arm
from xaibench.analysis.changes import change_intervals

ALL = "all images"
COLUMNS = ("images", "count", "before", "after", "change", "ci_low", "ci_high", "better", "clear")


def group_names(arm: Arm) -> list[str]:
    """The groups of an arm's images, in order; images without a group are in none."""
    return sorted(set(arm.groups) - {""})


def worst_groups(arm: Arm) -> list[float]:
    """For each training the accuracy in [0, 1] on its worst group; NaN where groups or correctness are not known."""
    if arm.correct is None or not group_names(arm):
        return [float("nan")] * arm.trainings
    groups = np.array(arm.groups, dtype=object)
    return [min(float(right[groups == name].mean()) for name in group_names(arm)) for right in arm.correct]


def compare_accuracies(before: Arm, after: Arm, resamples: int = 2000, seed: int = 0) -> pd.DataFrame | None:
    """The paired comparison of accuracies, with `COLUMNS`: a row for all images that both have and one for each group.

    The interval is that of `changes.change_intervals` over the images of the group. None where it is not known which
    predictions of an arm are right.
    """
    if before.correct is None or after.correct is None:
        return None
    shared = sorted(set(before.images) & set(after.images))
    places = [[arm.images.index(image) for image in shared] for arm in (before, after)]
    first, second = (
        arm.correct[:, rows, None].astype(float) for arm, rows in zip((before, after), places, strict=True)
    )
    groups = np.array([before.groups[row] for row in places[0]] if before.groups else [""] * len(shared), dtype=object)
    rows = []
    for name in [ALL, *sorted(set(groups.tolist()) - {""})]:
        part = np.ones(len(shared), bool) if name == ALL else groups == name
        low, high = change_intervals(first[:, part], second[:, part], (0.0, 1.0), resamples, seed)
        means = float(first[:, part].mean()), float(second[:, part].mean())
        change, low, high = means[1] - means[0], float(low[0]), float(high[0])
        rows.append((name, int(part.sum()), *means, change, low, high, change > 0, low > 0 or high < 0))
    return pd.DataFrame(rows, columns=list(COLUMNS))
