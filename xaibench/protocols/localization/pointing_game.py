"""The pointing game: does the maximum of a map lie on an object of the class? Zhang et al., ECCV 2016."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.protocols.base import Scores, status_of
from xaibench.protocols.masks import Localisation, class_boxes, image_size, positive_part
from xaibench.protocols.settings import check_between


def pointing_hit(maps: Tensor, near: Tensor) -> Tensor:
    """The pointing game: the share of a map's maximal pixels that lie in `near`.

    Args:
        maps: (P, 1, H, W), any floating dtype.
        near: (P, H, W) bool: where a maximum is a hit, such as the boxes of a class grown by a tolerance.

    Returns:
        (P,) float64 in [0, 1], higher is better; 0 or 1 where one pixel is maximal. NaN where the map has no positive
        value or is not finite.

    Examples:
        >>> import torch
        >>> from xaibench.functional import pointing_hit
        >>> maps = torch.tensor([[[[4.0, 4.0], [1.0, 0.0]]]])
        >>> pointing_hit(maps, torch.tensor([[[True, False], [True, False]]])).tolist()
        [0.5]

    Source: Zhang, Lin, Brandt, Shen, Sclaroff, Top-down Neural Attention by Excitation Backprop, ECCV 2016.
    """
    positive = positive_part(maps)
    top = positive.amax((1, 2), keepdim=True)
    maximal = positive == top
    share = (maximal & near).sum((1, 2)).double() / maximal.sum((1, 2))
    return torch.where(top[:, 0, 0] > 0, share, torch.nan)


@dataclass(frozen=True)
class Targets:
    """The union of boxes, and the same grown by the tolerance; both (P, H, W) bool."""

    boxes: Tensor
    near: Tensor


@dataclass(frozen=True)
class PointingGame(Localisation):
    """Whether the maximum lies in a box of the class or at most a tolerance away from it.

    Settings: those of `Localisation`, and the tolerance as a share of the image's longer side; 0.067 are the usual 15
    pixels at 224.
    """

    needs: ClassVar[tuple[str, ...]] = ("boxes",)
    has_oracle: ClassVar[bool] = True
    tolerance: float = 0.067

    def __post_init__(self):
        super().__post_init__()
        check_between("tolerance", self.tolerance, 0, 1)

    @property
    def description(self) -> str:
        """Such as `labels, logit, tolerance 0.067 of the longer side`."""
        return f"{super().description}, tolerance {self.tolerance:g} of the longer side"

    def prepare(self, e: Evidence) -> Targets:
        """The boxes and what is near them."""
        return Targets(class_boxes(e, self.every), class_boxes(e, self.every, self.tolerance * max(image_size(e))))

    def score(self, prepared: Targets, maps: Tensor) -> Scores:
        """The hit per pair; undefined without a positive value, or without a box."""
        values = pointing_hit(maps, prepared.near)
        return status_of(values, values.isnan(), ~prepared.boxes.flatten(1).any(1))

    def oracle(self, prepared: Targets, size: tuple[int, int]) -> Tensor:
        """The boxes themselves."""
        return prepared.boxes[:, None].double()
