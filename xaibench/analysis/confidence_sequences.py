"""Evidence that may be looked at after every image: betting against a mean over a finite list in random order.

Images of a list are seen one after the other, without replacement, so what the rest of the list must hold under a
hypothesis is known, and a bet on the next image that is fair under it is a martingale. By Ville's inequality its wealth
reaches 1/a at any time with probability a at most, however often one looks. Source: Waudby-Smith and Ramdas, Estimating
means of bounded random variables by betting, JRSS B 86 (2024), section 5 (sampling without replacement); the mixture of
constant bets as in Waudby-Smith, Stark and Ramdas, RiLACS (2021).
"""

from __future__ import annotations

import numpy as np

SHARES = (1.0, 1 / 2, 1 / 4, 1 / 8, 1 / 16)  # of the wealth that are at stake; the wealth is the mean over them
TIE = 1e-9  # relative to the bound: what rounding may leave of a remainder that is exactly at the bound
BLOCK = 1 << 20  # values worked on at a time (8 MiB)


def log_wealth(values: np.ndarray, listed: int, bound: np.ndarray | float) -> np.ndarray:
    """Logarithm of the evidence that the mean of each column over the whole list is above 0, after each image.

    Where the mean is 0 or below, the probability that the wealth ever reaches 1/a is at most a, if the order of the
    list is random. Subtracting a larger constant from the columns, and adding it to `bound`, never raises the wealth.

    Args:
        values: (seen, columns), finite: the first images of the list, in its order, one column per hypothesis.
        listed: images on the list, `seen` or more.
        bound: (columns,) or one, positive: no value on the list is below -bound.

    Returns (seen, columns) float64, the running maximum, 0 or more; infinite once what is left of the list cannot
    bring the mean to 0. Raises ValueError for other shapes, values that are not finite or below -bound.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or len(values) > listed:
        raise ValueError(f"values have the shape (seen, columns) with at most {listed} seen, not {values.shape}")
    bound = np.broadcast_to(np.asarray(bound, dtype=np.float64), values.shape[1:])
    if not np.isfinite(values).all() or (values < -bound * (1 + TIE)).any():
        raise ValueError("values are finite and at least -bound")
    width = max(1, BLOCK // max(1, len(values)))
    blocks = [slice(at, at + width) for at in range(0, values.shape[1], width)]
    found = [_log_wealth(values[:, block], listed, bound[block]) for block in blocks]
    return np.concatenate(found, axis=1) if found else np.zeros(values.shape)


def _log_wealth(values: np.ndarray, listed: int, bound: np.ndarray) -> np.ndarray:
    """See `log_wealth`."""
    sums = np.cumsum(values, axis=0)
    before, left = sums - values, listed - np.arange(len(values))[:, None]
    room = bound - before / left  # how far the mean of what is left is above -bound, if the mean of the list is 0
    certain = np.logical_or.accumulate(sums > bound * (left - 1 + TIE * listed), axis=0)
    possible = room > TIE * bound  # at exactly 0 nothing but -bound may come, and there is nothing to bet on
    gain = np.where(possible, np.maximum(values + bound, 0.0) / np.where(possible, room, 1.0), 1.0)
    total = np.full(values.shape, -np.inf)
    for share in SHARES:
        with np.errstate(divide="ignore"):  # the whole wealth is lost where all was at stake and -bound came
            total = np.logaddexp(total, np.cumsum(np.log(1 - share + share * gain), axis=0))
    wealth = np.where(certain, np.inf, total - np.log(len(SHARES)))
    return np.maximum(np.maximum.accumulate(wealth, axis=0), 0.0)
