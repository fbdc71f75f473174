"""Curves of a model's score while pixels are replaced in the order of a map: orders, images on the way, areas.

Values of a map tie often (half of a class activation map is 0). Ties are broken by an order that is drawn per image and
the same for all methods, so neither the raster nor the sorting algorithm says anything about a method.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.protocols.base import Scores, status_of
from xaibench.protocols.patches import blur
from xaibench.seeds import generator


def constant_or_not_finite(maps: Tensor) -> Tensor:
    """(P,) bool: true where a map (P, ...) says nothing, because all its values are equal or not all are finite."""
    values = maps.flatten(1)
    return ~values.isfinite().all(1) | (values == values[:, :1]).all(1)


def counts(units: int, steps: int) -> list[int]:
    """How many of the units are replaced after 0, 1, ..., `steps` steps of equal size (to the nearest whole unit)."""
    return [(2 * step * units + steps) // (2 * steps) for step in range(steps + 1)]


def tie_order(e: Evidence, units: int) -> Tensor:
    """(P, units) int64: a random order of the units of each image, from (seed, "ties", image id)."""

    def compute() -> Tensor:
        drawn = [torch.randperm(units, generator=generator(e.seed, "ties", image_id)) for image_id in e.image_ids]
        return torch.stack(drawn).to(e.images.device)

    return e.once(("tie order", units), compute, per_image=True)[e.owner]


def ranks(values: Tensor, ties: Tensor) -> Tensor:
    """Places (P, n) int64 from 0, the highest value first, of values (P, n); equals come in the order `ties` (P, n).

    Reversed, n - 1 - rank, they are the order with the lowest value first.
    """
    order = ties.gather(1, values.gather(1, ties).sort(dim=1, descending=True, stable=True).indices)
    return places(order)


def places(order: Tensor) -> Tensor:
    """The place (P, n) int64 of each unit in orders (P, n): the inverse permutations."""
    positions = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, positions)


def tied_share(values: Tensor) -> Tensor:
    """(P,) float64 in [0, 1]: the share of values (P, n) that some other value of the same row equals."""
    ordered = values.sort(1).values
    same = ordered[:, 1:] == ordered[:, :-1]
    alone = torch.zeros_like(same[:, :1])
    return (torch.cat([same, alone], 1) | torch.cat([alone, same], 1)).double().mean(1)


def tied_scores(values: Tensor) -> Scores:
    """The share of tied values (P, n) as a further metric; undefined where they are not finite."""
    bad = ~values.isfinite().all(1)
    return status_of(tied_share(values), bad, torch.zeros_like(bad))


def stand_in(e: Evidence, baseline: str) -> Tensor:
    """(B, C, H, W): what stands in the place of deleted pixels: `zero`, `random` (U(-1, 1) per image), `blur`."""

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
    """(P, n) float64: each target's score once its first amounts[n] units have turned from one image into another.

    places (P, H, W) int64: the place of each pixel's unit in the order. before, after (B, C, H, W): one image each of
    the batch. One forward pass per pair and amount.
    """
    limits = torch.tensor(amounts, device=places.device)

    def inputs(index: Tensor) -> Tensor:
        index = index.to(places.device)
        pair, step = index // len(limits), index % len(limits)
        image, turned = e.owner[pair], places[pair] < limits[step, None, None]
        return torch.where(turned[:, None], after[image], before[image])

    if not len(limits):
        return torch.empty(len(places), 0, dtype=torch.float64, device=places.device)
    logits = e.runner.logits(len(places) * len(limits), inputs).unflatten(0, (-1, len(limits)))
    return pair_scores(e, logits, output)


def pair_scores(e: Evidence, logits: Tensor, output: str) -> Tensor:
    """(P, ...) float64: each pair's score, from logits (P, ..., K) of inputs of its own."""
    return e.at(e.inputs).scores(logits, output).double()


def area(fractions: Tensor, heights: Tensor) -> Tensor:
    """Areas (P,) under curves with heights (P, n) at ascending fractions (n,), by the trapezoid rule."""
    return torch.trapezoid(heights, fractions.to(heights), dim=1)
