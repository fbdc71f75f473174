"""Intervals of the change between two arms of a comparison, over trainings and images.

With two trainings or more of each arm the interval is that of Student's t with Satterthwaite's degrees of freedom
(Biometrics Bulletin 1946; Welch, Biometrika 1947) for three parts of the variance: between trainings of either arm, and
between images in the change, so it speaks of other trainings and other images. The three overlap, as a training's
mean varies with its images too, which makes intervals slightly too long. With a single training of an arm nothing is
known between trainings: the interval is the studentised bootstrap over images, for these networks alone.
"""

from __future__ import annotations

import numpy as np

from xaibench.analysis.bootstrap import LEVEL, TIE
from xaibench.analysis.intervals import Bounds, mean_intervals, of_differences


def change_intervals(
    first: np.ndarray, second: np.ndarray, bounds: Bounds | None = None, resamples: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 95 % intervals of the mean change second - first, (methods,) float64 each.

    Args:
        first, second: (trainings, images, methods), the same images and methods; trainings may differ in number and are
            not paired.
        bounds: the least and the largest possible score, if known.
        resamples, seed: as for `intervals.mean_intervals`.

    Both ends are NaN where there is no interval: no image changes, or neither trainings nor images vary.
    """
    changes = second.mean(axis=0) - first.mean(axis=0)
    if min(len(first), len(second)) > 1:
        low, high = _over_trainings(first, second, changes, bounds)
    else:
        low, high = mean_intervals(changes, None, of_differences(bounds), resamples, seed)
    same = np.abs(changes).max(axis=0) <= TIE * max(1.0, np.abs(first).max(), np.abs(second).max())
    low[same], high[same] = np.nan, np.nan
    return low, high


def _over_trainings(
    first: np.ndarray, second: np.ndarray, changes: np.ndarray, bounds: Bounds | None
) -> tuple[np.ndarray, np.ndarray]:
    from scipy.stats import t

    parts = [(arm.mean(axis=1).var(axis=0, ddof=1) / len(arm), len(arm) - 1) for arm in (first, second)]
    if len(changes) > 1:
        parts.append((changes.var(axis=0, ddof=1) / len(changes), len(changes) - 1))
    variance = sum(part for part, _ in parts)
    mean = changes.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
        half = t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(variance)
    half[np.sqrt(variance) <= TIE * np.maximum(1.0, np.abs(mean))] = np.nan
    low, high = mean - half, mean + half
    return (low, high) if bounds is None else tuple(np.clip((low, high), *of_differences(bounds)))
