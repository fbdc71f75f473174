"""MOSU: is salience spread over the instances of a class as their boxes are large?

Bartak, Szewczyk, Vlasenko, Shi, TMLR 2024. The paper writes KL(area || salience), its code computes KL(salience ||
area); here the first is the metric and the second a further one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.protocols.base import Scores, status_of
from xaibench.protocols.masks import Localisation, between, box_masks, image_size, per_pair, positive_part

REVERSE = "kl-salience-area"


def divergence(p: Tensor, q: Tensor, epsilon: float = 1e-6) -> Tensor:
    """KL(p || q), a scalar in float64 from 0 to ln(1 + 1 / epsilon) nats, of shares p and q (n,).

    Both are normalised to a sum of 1, then epsilon is added to each share and they are normalised again.
    """
    p, q = (v.double() / v.sum() + epsilon for v in (p, q))
    p, q = p / p.sum(), q / q.sum()
    return (p * (p / q).log()).sum().clamp(min=0)


def box_salience(positive: Tensor, boxes: Tensor) -> Tensor:
    """Sums (n,) float64 of a map (H, W) float64, not negative, in boxes (n, H, W) bool, which may overlap."""
    return boxes.flatten(1).double() @ positive.flatten()


@dataclass(frozen=True)
class MultiObjectUniformity(Localisation):
    """KL(area || salience) over the boxes of a class, in nats, lower is better.

    Settings: those of `Localisation`, and epsilon, which is added to each share of area and salience, so that an
    instance without salience costs much and not infinitely. The further metric is the divergence the other way round.
    """

    needs: ClassVar[tuple[str, ...]] = ("boxes",)
    epsilon: float = 1e-6

    def __post_init__(self):
        super().__post_init__()
        between("epsilon", self.epsilon, 1e-6, 1)

    @property
    def description(self) -> str:
        """Such as `labels, logit, epsilon 1e-06`."""
        return f"{super().description}, epsilon {self.epsilon:g}"

    def prepare(self, e: Evidence) -> list[Tensor]:
        """The boxes (n, H, W) bool of each pair's class that have a pixel in the image."""

        def boxes(annotation, chosen) -> Tensor:
            masks = box_masks(torch.from_numpy(annotation.boxes[chosen]), image_size(e))
            return masks[masks.flatten(1).any(1)].to(e.images.device)

        return e.once(("boxes of instances", self.every), lambda: per_pair(e, self.every, boxes))

    def score(self, prepared: list[Tensor], maps: Tensor) -> Scores:
        """The divergence per pair; undefined without salience in any box, and with fewer than two instances."""
        forward, reverse, bad_map = [], [], []
        for positive, boxes in zip(positive_part(maps), prepared, strict=True):
            area, salience = boxes.sum((1, 2)), box_salience(positive, boxes)
            forward.append(divergence(area, salience, self.epsilon))
            reverse.append(divergence(salience, area, self.epsilon))
            bad_map.append(~(salience.sum() > 0))
        bad_map = torch.stack(bad_map)
        few = torch.tensor([len(boxes) < 2 for boxes in prepared], device=bad_map.device)
        scores = status_of(torch.stack(forward), bad_map, few)
        return Scores(scores.values, scores.status, {REVERSE: status_of(torch.stack(reverse), bad_map, few)})
