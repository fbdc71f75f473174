"""What deletion, insertion and combined share: a curve between the image and a blank one.

Petsiuk, Das, Saenko, BMVC 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Protocol
from xaibench.protocols.curves import removal_counts, removal_places, replaced_scores, tie_order
from xaibench.protocols.moved import forwarding
from xaibench.protocols.patches import folded_blur, gaussian_blur
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices, check_whole
from xaibench.protocols.statistics import area_under_curve, constant_or_not_finite

__getattr__ = forwarding(__name__, "faithfulness.deletion", "faithfulness.insertion", "faithfulness.combined")

BLANKS = ("zero", "blur", "gaussian")
BLUR_KERNEL, BLUR_SIGMA = 11, 5.0


def relative_heights(heights: Tensor, image: Tensor, blank: Tensor) -> Tensor:
    """Heights of a curve as shares of the way from the blank image's score to the image's score.

    (heights - blank) / (image - blank), for logits, which have no common zero.

    Args:
        heights: (P, n) floating.
        image: (P,) the score of the intact image.
        blank: (P,) the score of the blank image.

    Returns:
        (P, n) of the dtype of heights, possibly outside of [0, 1]; NaN where the image does not score higher than the
        blank one.

    Examples:
        >>> import torch
        >>> from xaibench.functional import relative_heights
        >>> relative_heights(torch.tensor([[4.0, 3.0, 2.0]]), torch.tensor([4.0]), torch.tensor([2.0])).tolist()
        [[1.0, 0.5, 0.0]]
    """
    way = image - blank
    return (heights - blank[:, None]) / torch.where(way > 0, way, torch.nan)[:, None]


def blank_images(e: Evidence, name: str) -> Tensor:
    """(B, C, H, W): the zero baseline for every image, or each image blurred (11 taps of deviation 5 at 224 pixels).

    `blur` is the kernel of the published code of RISE (`folded_blur`), `gaussian` a Gaussian that is cut off.
    """
    if name == "zero":
        return e.baseline("zero").expand_as(e.images)
    blurred = {"blur": folded_blur, "gaussian": gaussian_blur}[name]
    return e.once(("blurred", name), lambda: blurred(e.images, BLUR_KERNEL, BLUR_SIGMA), per_image=True)


def blank_logits(e: Evidence, name: str) -> Tensor:
    """Logits (B, K) of the blank images, once for all methods."""
    blank = blank_images(e, name)
    return e.logits_under(("blank image", name), 1, lambda image, edit: blank[image])[:, 0]


def replacement_curve(
    e: Evidence, maps: Tensor, steps: int, blank: str, output: str, *, insertion: bool
) -> tuple[Tensor, Tensor]:
    """Fractions (steps + 1,) of replaced pixels, 0 and 1 included, and heights (P, steps + 1) of the target's score.

    Deletion goes from the image to the blank one, insertion from the blank one to the image, in both cases the highest
    values of maps (P, 1, H, W) first. The two ends are shared by all methods.
    """
    size, values = maps.shape[-2:], maps.flatten(1)
    amounts = removal_counts(values.shape[1], steps)
    order = removal_places(values, tie_order(e, values.shape[1])).unflatten(1, size)
    intact = (e.images, e.scores(e.logits(), output).double())
    empty = (blank_images(e, blank), e.scores(blank_logits(e, blank), output).double())
    (first, start), (last, end) = (empty, intact) if insertion else (intact, empty)
    inner = replaced_scores(e, order, amounts[1:-1], first, last, output)
    heights = torch.cat([start[:, None], inner, end[:, None]], 1)
    if output == "logit":
        heights = relative_heights(heights, intact[1], empty[1])
    return torch.tensor(amounts, device=heights.device).double() / amounts[-1], heights


@dataclass(frozen=True)
class CurveProtocol(Protocol):
    """A protocol whose score is an area under such curves.

    Settings: steps of equal numbers of pixels; target explained and scored (label, prediction); output that is scored:
    the probability, or the logit as a share of its way from the blank image to the image; attribution_output explained.
    A subclass names its settings of blank images in `blanks`.
    """

    steps: int = 28
    target: str = "label"
    attribution_output: str = "logit"
    output: str = "probability"

    blanks: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self):
        check_choices(self, target=TARGETS, attribution_output=OUTPUTS, output=OUTPUTS)
        check_choices(self, **dict.fromkeys(self.blanks, BLANKS))
        check_whole(self, steps=1)

    @property
    def description(self) -> str:
        """Such as `28 steps, zero baseline, label, probability, logit explained`."""
        blanks = ", ".join(f"{getattr(self, name)} {name}" for name in self.blanks)
        return f"{self.steps} steps, {blanks}, {self.target}, {self.output}, {self.attribution_output} explained"

    def check(self, size: tuple[int, int]) -> None:
        """Raises XaibenchError where images of size (H, W) have fewer pixels than there are steps."""
        if size[0] * size[1] < self.steps:
            raise XaibenchError(f"{self.steps} steps need at least as many pixels; images have {size[0]}x{size[1]}")

    def prepare(self, e: Evidence) -> Evidence:
        """The evidence, in which the ends of the curves, the same for all methods, are remembered."""
        e.logits()
        for name in self.blanks:
            blank_logits(e, getattr(self, name))
        return e

    def area(self, e: Evidence, maps: Tensor, blank: str, *, insertion: bool) -> tuple[Tensor, Tensor, Tensor]:
        """The area (P,) under one curve; (P,) bool where the map has none; (P,) bool where the network has
        none, as the target's score is not finite somewhere on the way."""
        fractions, heights = replacement_curve(e, maps, self.steps, blank, self.output, insertion=insertion)
        bad_heights = ~heights.isfinite().all(1)
        return area_under_curve(fractions, heights), constant_or_not_finite(maps), bad_heights
