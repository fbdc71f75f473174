"""MOSU: does each instance of a class get salience in proportion to the size of its box?

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
from xaibench.protocols.masks import Localisation, box_masks, image_size, per_pair, positive_part
from xaibench.protocols.settings import check_between

REVERSE = "kl-salience-area"


def smoothed_kl_divergence(p: Tensor, q: Tensor, epsilon: float = 1e-6) -> Tensor:
    """KL(p || q) of two lists of shares, in nats.

    Both are divided by their sum, then epsilon is added to each share and they are divided by their sum again. With the
    areas of boxes as p and the salience in them as q this is the score of MOSU.

    Args:
        p: (n,), any real dtype, not negative.
        q: (n,).
        epsilon: above 0.

    Returns:
        A scalar, float64, from 0 to ln(1 + 1 / epsilon), lower is better; NaN where p or q sums to 0.

    Examples:
        >>> import torch
        >>> from xaibench.functional import smoothed_kl_divergence
        >>> area, salience = torch.tensor([4, 4]), torch.tensor([3.0, 1.0])
        >>> round(float(smoothed_kl_divergence(area, salience)), 4), float(smoothed_kl_divergence(area, area))
        (0.1438, 0.0)

    Source: Bartak, Szewczyk, Vlasenko, Shi, Reproducibility Study of "Languange-Image COnsistency", TMLR 2024.
    """
    p, q = (v.double() / v.sum() + epsilon for v in (p, q))
    p, q = p / p.sum(), q / q.sum()
    return (p * (p / q).log()).sum().clamp(min=0)


def box_salience(positive: Tensor, boxes: Tensor) -> Tensor:
    """The sum of a map in each box.

    Args:
        positive: (H, W) float64, not negative, such as one map of `positive_part`.
        boxes: (n, H, W) bool, which may overlap.

    Returns:
        (n,) float64.

    Examples:
        >>> import torch
        >>> from xaibench.functional import box_masks, box_salience
        >>> boxes = box_masks(torch.tensor([[0, 0, 1, 1], [0, 0, 2, 1]]), size=(1, 2))
        >>> box_salience(torch.tensor([[3.0, 1.0]], dtype=torch.float64), boxes).tolist()
        [3.0, 4.0]
    """
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
        check_between("epsilon", self.epsilon, 1e-6, 1)

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
            forward.append(smoothed_kl_divergence(area, salience, self.epsilon))
            reverse.append(smoothed_kl_divergence(salience, area, self.epsilon))
            bad_map.append(~(salience.sum() > 0))
        bad_map = torch.stack(bad_map)
        few = torch.tensor([len(boxes) < 2 for boxes in prepared], device=bad_map.device)
        scores = status_of(torch.stack(forward), bad_map, few)
        return Scores(scores.values, scores.status, {REVERSE: status_of(torch.stack(reverse), bad_map, few)})
