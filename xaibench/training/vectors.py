"""Directions of vectors, with gradients that stay finite."""

from __future__ import annotations

import torch
from torch import Tensor


def unit(x: Tensor) -> Tensor:
    """x / |x| along the last axis; 0 with gradient 0 where x is 0, or so small that its square vanishes."""
    square = x.square().sum(-1, keepdim=True)
    empty = square == 0
    return torch.where(empty, torch.zeros_like(x), x * torch.where(empty, 1, square).rsqrt())
