"""Which epochs of which trainings are worth keeping: the Pareto front, and the one model that stands for it.

Rao et al., ICCV 2023, keep the front in (F1, EPG, IoU) on validation images over the weights of the localisation loss
and over epochs, and show the model with the highest EPG that loses at most 5 points of F1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

POINTS_LOST = 0.05


def non_dominated(values: ArrayLike) -> np.ndarray:
    """(N,) bool: the rows of values (N, M), higher being better, to which no other row is superior.

    A row is superior to another that it equals or exceeds in all columns and exceeds in one, so equal rows stay
    together. A row with NaN is never on the front, and superior to none.
    """
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2:
        raise ValueError(f"values have the shape {rows.shape}, not (N, M)")
    known = ~np.isnan(rows).any(1)
    on_front = known.copy()
    for number in np.flatnonzero(known):  # one row at a time: N x N x M would be large for many epochs
        superior = (rows >= rows[number]).all(1) & (rows > rows[number]).any(1)  # False where a row has NaN
        on_front[number] = not superior.any()
    return on_front


def front(rows: Sequence[dict[str, Any]], metrics: Sequence[str]) -> list[int]:
    """The numbers of the rows on the Pareto front of these metrics, in the order of rows."""
    return np.flatnonzero(non_dominated(_columns(rows, metrics))).tolist()


def representative(
    rows: Sequence[dict[str, Any]], score: str, baseline: float, lost: float = POINTS_LOST
) -> int | None:
    """The number of the row with the highest `epg` whose score is at least baseline - lost; None where there is none.

    Of equals the one with the higher score, then with the higher `iou`, so it is on the front of the three; then the
    first. score is the name of a metric in [0, 1], such as `f1`.
    """
    columns = _columns(rows, ("epg", score, "iou"))
    allowed = [n for n in np.flatnonzero(~np.isnan(columns).any(1)) if columns[n, 1] >= baseline - lost - 1e-12]
    return int(max(allowed, key=lambda n: (*columns[n], -n))) if allowed else None


def _columns(rows: Sequence[dict[str, Any]], metrics: Sequence[str]) -> np.ndarray:
    """Metrics of rows as (N, M) float64."""
    return np.array([[row[name] for name in metrics] for row in rows], dtype=np.float64).reshape(-1, len(metrics))
