"""Ranks and correlations of tensors, over the last dimension, and the area under a curve."""

from __future__ import annotations

import torch
from torch import Tensor


def average_ranks(values: Tensor) -> Tensor:
    """Ranks from 1, the lowest value first; equal values share the mean of their ranks.

    Args:
        values: (..., n), any real dtype.

    Returns:
        (..., n) float64; NaN where the value is NaN. Needs memory for n x n comparisons.

    Examples:
        >>> import torch
        >>> from xaibench.functional import average_ranks
        >>> average_ranks(torch.tensor([30.0, 10.0, 30.0, 20.0])).tolist()
        [3.5, 1.0, 3.5, 2.0]
    """
    a, b = values[..., :, None], values[..., None, :]
    ranks = (a > b).sum(-1) + ((a == b).sum(-1) + 1) / 2
    return torch.where(values.isnan(), torch.nan, ranks.double())


def spearman(x: Tensor, y: Tensor) -> Tensor:
    """Spearman's rank correlation: Pearson's correlation of the average ranks.

    Args:
        x: (..., n), any real dtype.
        y: (..., n).

    Returns:
        (...,) float64 in [-1, 1]; NaN where x or y is constant or holds a NaN.

    Examples:
        >>> import torch
        >>> from xaibench.functional import spearman
        >>> round(float(spearman(torch.tensor([1.0, 2, 3, 4]), torch.tensor([1.0, 2, 4, 3]))), 6)
        0.8

    Source: Spearman, The Proof and Measurement of Association between Two Things, 1904.
    """
    x, y = (r - r.mean(-1, keepdim=True) for r in (average_ranks(x), average_ranks(y)))
    return (x * y).sum(-1) / (x.square().sum(-1) * y.square().sum(-1)).sqrt()


def pearson(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's correlation: the mean of (x - mean x)(y - mean y) over the product of the standard deviations.

    Args:
        x: (..., n), any real dtype.
        y: (..., n).

    Returns:
        (...,) float64 in [-1, 1]; NaN where x or y is constant or holds a NaN.

    Examples:
        >>> import torch
        >>> from xaibench.functional import pearson
        >>> round(float(pearson(torch.tensor([0.0, 1, 2]), torch.tensor([0.0, 1, 0]))), 6)
        0.0
    """
    x, y = (values.double() - values.double().mean(-1, keepdim=True) for values in (x, y))
    return ((x * y).sum(-1) / (x.norm(dim=-1) * y.norm(dim=-1))).clamp(-1, 1)


def constant_or_not_finite(values: Tensor) -> Tensor:
    """Where a map, or a list of values, has no order and no correlation.

    Args:
        values: (P, ...), any real dtype.

    Returns:
        (P,) bool: true where all values of a row are equal, or not all of them are finite.

    Examples:
        >>> import torch
        >>> from xaibench.functional import constant_or_not_finite
        >>> constant_or_not_finite(torch.tensor([[1.0, 1.0], [1.0, 2.0], [1.0, torch.nan]])).tolist()
        [True, False, True]
    """
    values = values.flatten(1)
    return ~values.isfinite().all(1) | (values == values[:, :1]).all(1)


def min_max(values: Tensor) -> Tensor:
    """Each row scaled to [0, 1] by its own minimum and maximum.

    values (P, ...) floating; returns (P, n) float64, NaN throughout a row that is constant or not finite.
    """
    values = values.flatten(1).double()
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    usable = values.isfinite().all(1, keepdim=True) & (high > low)
    return torch.where(usable, (values - low) / torch.where(usable, high - low, 1.0), torch.nan)


def area_under_curve(fractions: Tensor, heights: Tensor) -> Tensor:
    """The area under curves by the trapezoid rule: the score of deletion (lower is better) and insertion (higher).

    Args:
        fractions: (n,) real, ascending: the share of pixels that is replaced at each point of the curve.
        heights: (P, n) floating: the model's score of the target there.

    Returns:
        (P,) of the dtype of heights; in [0, 1] for fractions from 0 to 1 and heights that are probabilities.

    Examples:
        >>> import torch
        >>> from xaibench.functional import area_under_curve
        >>> area_under_curve(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([[1.0, 0.5, 0.0], [1.0, 0.0, 0.0]])).tolist()
        [0.5, 0.25]

    Source: Petsiuk, Das, Saenko, RISE: Randomized Input Sampling for Explanation of Black-box Models, BMVC 2018.
    """
    return torch.trapezoid(heights, fractions.to(heights), dim=1)
