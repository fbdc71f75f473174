"""When two computations of one row have given the same score.

Rounding differs between batch sizes, numbers of threads, processors and devices. What it does to scores was measured
(`docs/protocols.md`, "Ties and rounding"): almost none moves by more than 1e-5, and those that do, by less than 1e-4,
are orders in which two pixels changed places.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

TOLERANCE = 1e-4  # of the largest score of the same metric
OF_RANGE = 0.01  # of the limits of a metric's range: scores of any size are differences of numbers of that size
TIED, TIED_TOLERANCE = "tied", 0.01  # the share of pixels with equal values: pairs meet by chance, to the last bit


def scale_of(largest: float, bounds: Sequence[float | None]) -> float:
    """The scale of a metric's scores under a result key: the largest absolute score, and at least 0.01 of the larger
    limit where its range is bounded on both sides.

    A difference of probabilities has their rounding, also where all such differences are small.

    >>> scale_of(0.003, [-1, 1]), scale_of(0.5, [-1, 1]), scale_of(0.003, [0, None])
    (0.01, 0.5, 0.003)
    """
    low, high = bounds
    return largest if low is None or high is None else max(largest, OF_RANGE * max(abs(low), abs(high)))


def scores_equal(first: ArrayLike, second: ArrayLike, *, metric: ArrayLike = "", scale: ArrayLike = 0.0) -> np.ndarray:
    """Whether scores are equal up to the rounding of two honest computations.

    |first - second| <= 1e-4 x the largest of |first|, |second| and scale; 0.01 for the metric `tied`, whatever its
    size. Two undefined scores are equal, a defined and an undefined one are not.

    Args:
        first: scores, NaN where undefined; any shape.
        second: scores of the same rows in another computation.
        metric: the name of each row's metric.
        scale: `scale_of` each row's metric under the same result key, where it is known: a score near 0 does not have
            to be equal in all its digits.

    Returns:
        bool, of the shape of the arguments together.

    Examples:
        >>> from xaibench.results.equality import scores_equal
        >>> scores_equal([0.5, 0.5, float("nan")], [0.50002, 0.5001, float("nan")]).tolist()
        [True, False, True]
        >>> bool(scores_equal(1e-6, 2e-6, scale=0.5))
        True
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    undefined, finite = np.isnan(first) & np.isnan(second), np.isfinite(first) & np.isfinite(second)
    size = np.fmax(np.fmax(np.abs(first), np.abs(second)), np.abs(np.asarray(scale, dtype=float)))
    allowed = np.where(np.asarray(metric) == TIED, TIED_TOLERANCE, TOLERANCE * size)
    with np.errstate(invalid="ignore"):
        return undefined | (first == second) | (finite & (np.abs(first - second) <= allowed))
