"""Rules of layer-wise relevance propagation for transformers (Chefer, Gur & Wolf, CVPR 2021, section 3).

Each function takes the relevance of a layer's output and returns that of its input, and keeps the sum of every sample;
a part is lost only where its whole denominator is exactly zero. Biases get nothing. Normalisations, activation
functions, softmax and scalings pass relevance on as it is and have no function here. Tensors are of one dtype, double
to be exact: skip connections and products divide by signed sums.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, 0 where the denominator is 0."""
    safe = torch.where(denominator == 0, torch.ones_like(denominator), denominator)
    return torch.where(denominator == 0, torch.zeros_like(denominator), numerator / safe)


def through_linear(relevance: Tensor, inputs: Tensor, weight: Tensor) -> Tensor:
    """(..., I) from relevance (..., O) of a linear layer of inputs (..., I) and weight (O, I).

    z+ rule (alpha 1, beta 0): an output's relevance goes to its inputs in the shares of their positive contributions.
    """
    positive, negative = (inputs.clamp(min=0), weight.clamp(min=0)), (inputs.clamp(max=0), weight.clamp(max=0))
    share = quotient(relevance, sum(x @ w.mT for x, w in (positive, negative)))
    return sum(x * (share @ w) for x, w in (positive, negative))


def through_product(relevance: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Relevance of both factors of left (..., I, J) @ right (..., J, K) from that of the product (..., I, K).

    Each factor gets half, in the shares of its contributions, which may be negative.
    """
    share = quotient(relevance, left @ right) / 2
    return left * (share @ right.mT), right * (left.mT @ share)


def through_sum(relevance: Tensor, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Relevance of both summands (N, ...) of a skip connection from that of their sum.

    Shares per element may grow without bound where summands cancel. So the shares of each summand are scaled such that
    their sums have the ratio of the absolute unscaled sums, and add up to the relevance of the sample.
    """
    share = quotient(relevance, one + other)
    parts = one * share, other * share
    space = tuple(range(1, relevance.ndim))
    sums = [part.sum(space, keepdim=True) for part in parts]
    scale = quotient(relevance.sum(space, keepdim=True), sums[0].abs() + sums[1].abs())
    return tuple(part * total.sign() * scale for part, total in zip(parts, sums, strict=True))


def through_pool(relevance: Tensor, tokens: Tensor, pool: Callable[[Tensor], Tensor]) -> Tensor:
    """(N, T, D) from relevance (N, D) of pooled tokens (N, T, D), in the shares of their contributions.

    pool selects one token, or is a mean or a maximum: any function whose value is the sum of its inputs times its
    gradient.
    """
    pooled, back = torch.func.vjp(pool, tokens)
    return tokens * back(quotient(relevance, pooled))[0]
