"""Rank statistics of tensors, batched."""

from __future__ import annotations

import torch
from torch import Tensor


def average_ranks(values: Tensor) -> Tensor:
    """Ranks (..., n) from 1 of values (..., n) in float64; ties share the average of their ranks; NaN gives NaN."""
    a, b = values[..., :, None], values[..., None, :]
    ranks = (a > b).sum(-1) + ((a == b).sum(-1) + 1) / 2
    return torch.where(values.isnan(), torch.nan, ranks.double())


def spearman(x: Tensor, y: Tensor) -> Tensor:
    """Spearman's rank correlation (...,) in [-1, 1] of x and y (..., n), average ranks for ties, in float64.

    NaN where either side is constant or holds a NaN: the caller says whose fault that is.
    """
    x, y = (r - r.mean(-1, keepdim=True) for r in (average_ranks(x), average_ranks(y)))
    return (x * y).sum(-1) / (x.square().sum(-1) * y.square().sum(-1)).sqrt()
