"""Curves of a model's score while pixels are replaced in the order of a map: orders, and images on the way.

Values of a map tie often (half of a class activation map is 0). Ties are broken by an order that is drawn per image and
the same for all methods, so scores do not depend on the order of pixels in memory or on the sorting algorithm. Values
tie where they are equal: `xaibench.attribution.maps.bilinear` sees to it that rounding does not tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.protocols.base import Scores, status_of
from xaibench.protocols.patches import blur
from xaibench.seeds import generator


def removal_counts(units: int, steps: int) -> list[int]:
    """How many of the units are replaced after 0, 1, ..., `steps` steps of equal size, to the nearest whole unit.

    Examples:
        >>> from xaibench.functional import removal_counts
        >>> removal_counts(10, 4)
        [0, 3, 5, 8, 10]
    """
    return [(2 * step * units + steps) // (2 * steps) for step in range(steps + 1)]


def tie_order(e: Evidence, units: int) -> Tensor:
    """(P, units) int64: a random order of the units of each image, from (seed, "ties", image id)."""

    def compute() -> Tensor:
        drawn = [torch.randperm(units, generator=generator(e.seed, "ties", image_id)) for image_id in e.image_ids]
        return torch.stack(drawn).to(e.images.device)

    return e.once(("tie order", units), compute, per_image=True)[e.owner]


def removal_places(values: Tensor, ties: Tensor) -> Tensor:
    """The place of each unit in the order of removal, from 0, the highest value first.

    Args:
        values: (P, n), any real dtype: what a map gives to each of n pixels or cells.
        ties: (P, n) int64, permutations: the order in which units of equal values come.

    Returns:
        (P, n) int64. n - 1 - place is the reversed order, the lowest value first.

    Examples:
        >>> import torch
        >>> from xaibench.functional import removal_places
        >>> removal_places(torch.tensor([[0.5, 2.0, 0.5]]), ties=torch.tensor([[2, 1, 0]])).tolist()
        [[2, 0, 1]]
    """
    order = ties.gather(1, values.gather(1, ties).sort(dim=1, descending=True, stable=True).indices)
    return inverse_orders(order)


def inverse_orders(order: Tensor) -> Tensor:
    """The place (P, n) int64 of each unit in orders (P, n): the inverse permutations."""
    positions = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, positions)


def tied_share(values: Tensor) -> Tensor:
    """The share of a map's values that equal another value of the same map: their order had to be drawn.

    Args:
        values: (P, n), any real dtype.

    Returns:
        (P,) float64 in [0, 1].

    Examples:
        >>> import torch
        >>> from xaibench.functional import tied_share
        >>> tied_share(torch.tensor([[0.0, 0.0, 1.0, 2.0], [0.0, 1.0, 2.0, 3.0]])).tolist()
        [0.5, 0.0]
    """
    ordered = values.sort(1).values
    same = ordered[:, 1:] == ordered[:, :-1]
    alone = torch.zeros_like(same[:, :1])
    return (torch.cat([same, alone], 1) | torch.cat([alone, same], 1)).double().mean(1)


def tied_scores(values: Tensor) -> Scores:
    """The share of tied values (P, n) as a further metric; undefined where they are not finite."""
    bad = ~values.isfinite().all(1)
    return status_of(tied_share(values), bad, torch.zeros_like(bad))


def stand_in(e: Evidence, baseline: str) -> Tensor:
    """(B, C, H, W): what replaces deleted pixels: `zero`, `random` (U(-1, 1) per image), `blur`."""

    def compute() -> Tensor:
        if baseline == "zero":
            return e.baseline("zero").expand_as(e.images)
        if baseline == "random":
            return e.random("deleted pixels", e.images.shape[1:], torch.rand) * 2 - 1
        return blur(e.images)

    return e.once(("deleted pixels", baseline), compute, per_image=True)


def replaced_scores(
    e: Evidence, places: Tensor, amounts: Sequence[int], before: Tensor, after: Tensor, output: str
) -> Tensor:
    """(P, n) float64: each target's score once its first amounts[n] units are those of `after` instead of `before`.

    places (P, H, W) int64: the place of each pixel's unit in the order. before, after (B, C, H, W): one image each of
    the batch. One forward pass per pair and amount.
    """
    limits = torch.tensor(amounts, device=places.device)

    def inputs(index: Tensor) -> Tensor:
        pair, step = index // len(limits), index % len(limits)
        image, replaced = e.owner[pair], places[pair] < limits[step, None, None]
        return torch.where(replaced[:, None], after[image], before[image])

    if not len(limits):
        return torch.empty(len(places), 0, dtype=torch.float64, device=places.device)
    logits = e.runner.logits(len(places) * len(limits), inputs, places.device).unflatten(0, (-1, len(limits)))
    return pair_scores(e, logits, output)


def pair_scores(e: Evidence, logits: Tensor, output: str) -> Tensor:
    """(P, ...) float64: each pair's score, from logits (P, ..., K) of inputs of its own."""
    return e.at(e.inputs).scores(logits, output).double()
