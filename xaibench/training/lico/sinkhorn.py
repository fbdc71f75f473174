"""Entropic optimal transport by Sinkhorn's iterations in the log domain. Cuturi 2013; Peyré and Cuturi 2019, 4.4."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.errors import XaibenchError


@dataclass(frozen=True)
class Transport:
    """What Sinkhorn's iterations gave for each problem of a batch.

    plan (B, M, N): the mass that goes from row to column. cost (B,): sum of plan x cost, without the entropy. error
    (B,): the sum of |row sums of the plan - row weights|, in [0, 2]; columns are exact. iterations (B,) int64.
    """

    plan: Tensor
    cost: Tensor
    error: Tensor
    iterations: Tensor


def sinkhorn(
    cost: Tensor,
    epsilon: float = 0.1,
    *,
    rows: Tensor | None = None,
    columns: Tensor | None = None,
    iterations: int = 1000,
    tolerance: float = 1e-3,
) -> Transport:
    """The plan of least cost - epsilon x entropy between weighted rows and columns.

    cost (B, M, N), floating. rows (M,) or (B, M) and columns (N,) or (B, N): positive weights with the sum 1, uniform
    by default. A problem ends when its marginal error is at most the tolerance, or after that many iterations; what it
    ends with does not depend on the others of the batch. Gradients pass through the iterations. Works in float32 or
    more. Raises XaibenchError for other shapes, weights and settings.
    """
    if cost.ndim != 3 or not cost.is_floating_point() or 0 in cost.shape:
        raise XaibenchError(f"costs of transport are floating (B, M, N), not {cost.dtype} {tuple(cost.shape)}")
    if not (epsilon > 0 and iterations >= 1 and tolerance >= 0):
        raise XaibenchError("transport needs epsilon > 0, iterations >= 1 and tolerance >= 0")
    cost = cost.to(torch.promote_types(cost.dtype, torch.float32))
    log_rows = _log_weights(rows, cost, 1)
    log_columns = _log_weights(columns, cost, 2)
    kernel = -cost / epsilon
    f, g = torch.zeros_like(log_rows), torch.zeros_like(log_columns)  # potentials, in units of epsilon
    done = torch.zeros(len(cost), dtype=torch.bool, device=cost.device)
    count = torch.zeros(len(cost), dtype=torch.int64, device=cost.device)
    error = torch.full((len(cost),), float("inf"), dtype=cost.dtype, device=cost.device)
    for number in range(iterations + 1):
        fresh = -torch.logsumexp(kernel + (g + log_columns)[:, None, :], 2)
        if number:  # with exact columns, the sum of row i of the plan is its weight x exp(f - fresh)
            error = ((f - fresh).detach().expm1().abs() * log_rows.exp()).sum(1)
            done = error <= tolerance
        if number == iterations or bool(done.all()):
            break
        count += ~done
        still = ~done[:, None]
        f = torch.where(still, fresh, f)
        g = torch.where(still, -torch.logsumexp(kernel + (f + log_rows)[:, :, None], 1), g)
    plan = (kernel + (f + log_rows)[:, :, None] + (g + log_columns)[:, None, :]).exp()
    return Transport(plan, (plan * cost).sum((1, 2)), error, count)


def _log_weights(weights: Tensor | None, cost: Tensor, axis: int) -> Tensor:
    """log weights (B, n) of an axis of the costs; raises XaibenchError for weights that are none."""
    shape = (len(cost), cost.shape[axis])
    if weights is None:
        return cost.new_full(shape, 1 / shape[1]).log()
    if weights.shape not in (shape, shape[1:]):
        raise XaibenchError(f"weights of shape {tuple(weights.shape)} do not fit costs {tuple(cost.shape)}")
    weights = weights.to(cost)
    if not bool((weights > 0).all()) or not bool(((weights.sum(-1) - 1).abs() < 1e-4).all()):
        raise XaibenchError("weights of transport are positive and have the sum 1")
    return weights.log().expand(shape)
