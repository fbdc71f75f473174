"""Noisy linear imputation: removed pixels become weighted means of their neighbours, known and removed alike.

Rong, Leemann, Borisov, Kasneci, Kasneci, ICML 2022. Pixels of a constant colour are a shape that a model can see; a
smooth filling hides which ones were removed.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu

# Direct neighbours weigh twice as much as diagonal ones; a pixel at the border has fewer, whose weights are shared out.
NEIGHBOURS = {
    (row, column): (1 / 6 if 0 in (row, column) else 1 / 12)
    for row in (-1, 0, 1)
    for column in (-1, 0, 1)
    if (row, column) != (0, 0)
}


def linear_imputation(image: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """The image (C, H, W), float64, whose removed pixels (H, W) bool are each the weighted mean of their neighbours.

    Solves one sparse linear system for all channels; at least one pixel must be left.
    """
    filled, number = image.astype(np.float64), int(removed.sum())
    if not number:
        return filled
    height, width = removed.shape
    unknown = np.full(removed.shape, -1)
    unknown[removed] = np.arange(number)
    rows, columns = np.nonzero(removed)
    total, known = np.zeros(number), np.zeros((number, len(image)))
    entries: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for (down, right), weight in NEIGHBOURS.items():
        y, x = rows + down, columns + right
        inside = np.flatnonzero((y >= 0) & (y < height) & (x >= 0) & (x < width))
        y, x = y[inside], x[inside]
        total[inside] += weight
        free = unknown[y, x] >= 0
        known[inside[~free]] += weight * filled[:, y[~free], x[~free]].T
        entries.append((inside[free], unknown[y[free], x[free]], np.full(int(free.sum()), -weight)))
    entries.append((np.arange(number), np.arange(number), total))
    at, to, values = (np.concatenate(part) for part in zip(*entries, strict=True))
    system = coo_matrix((values, (at, to)), shape=(number, number)).tocsc()
    filled[:, removed] = splu(system, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(known).T
    return filled
