"""Deletion and insertion: how the model's score falls and rises while pixels go or come in the order of a map.

Petsiuk, Das, Saenko, BMVC 2018. `Combined` draws both curves and reports all three numbers, at the price of two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Protocol, Scores, status_of
from xaibench.protocols.curves import (
    area,
    constant_or_not_finite,
    counts,
    ranks,
    replaced_scores,
    tie_order,
    tied_scores,
)
from xaibench.protocols.patches import gaussian_blur
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices, check_whole

BLANKS = ("zero", "blur")
BLUR_KERNEL, BLUR_SIGMA = 11, 5.0


def relative(heights: Tensor, image: Tensor, blank: Tensor) -> Tensor:
    """Heights (P, n) as shares of the way from the blank image's score (P,) to the image's (P,).

    NaN where the image does not score higher than the blank one: then there is no way to share out.
    """
    way = image - blank
    return (heights - blank[:, None]) / torch.where(way > 0, way, torch.nan)[:, None]


def blank_images(e: Evidence, name: str) -> Tensor:
    """(B, C, H, W): the zero baseline for every image, or each image blurred (11 taps of deviation 5 at 224 pixels)."""
    if name == "zero":
        return e.baseline("zero").expand_as(e.images)
    return e.once(("blurred", BLUR_KERNEL), lambda: gaussian_blur(e.images, BLUR_KERNEL, BLUR_SIGMA), per_image=True)


def blank_logits(e: Evidence, name: str) -> Tensor:
    """Logits (B, K) of the blank images, once for all methods."""
    blank = blank_images(e, name)
    return e.logits_under(("blank image", name), 1, lambda image, edit: blank[image])[:, 0]


def curve(e: Evidence, maps: Tensor, steps: int, blank: str, output: str, *, insertion: bool) -> tuple[Tensor, Tensor]:
    """Fractions (steps + 1,) of replaced pixels, 0 and 1 included, and heights (P, steps + 1) of the target's score.

    Deletion goes from the image to the blank one, insertion from the blank one to the image, in both cases the highest
    values of maps (P, 1, H, W) first. The two ends are shared by all methods.
    """
    size, values = maps.shape[-2:], maps.flatten(1)
    amounts = counts(values.shape[1], steps)
    order = ranks(values, tie_order(e, values.shape[1])).unflatten(1, size)
    plain = (e.images, e.scores(e.logits(), output).double())
    empty = (blank_images(e, blank), e.scores(blank_logits(e, blank), output).double())
    (first, start), (last, end) = (empty, plain) if insertion else (plain, empty)
    between = replaced_scores(e, order, amounts[1:-1], first, last, output)
    heights = torch.cat([start[:, None], between, end[:, None]], 1)
    if output == "logit":
        heights = relative(heights, plain[1], empty[1])
    return torch.tensor(amounts, device=heights.device).double() / amounts[-1], heights


@dataclass(frozen=True)
class _Curves(Protocol):
    """steps of equal numbers of pixels; target explained and scored (label, prediction); output that is scored: the
    probability, or the logit as a share of its way from the blank image to the image; attribution_output explained."""

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
        """The area (P,) under one curve, which maps and which ends (P,) have none."""
        fractions, heights = curve(e, maps, self.steps, blank, self.output, insertion=insertion)
        bad_ends = ~heights[:, [0, -1]].isfinite().all(1)
        return area(fractions, heights), constant_or_not_finite(maps) | ~heights.isfinite().all(1), bad_ends


@dataclass(frozen=True)
class Deletion(_Curves):
    """The area under the curve from the image to a blank one (`zero`, `blur`), most important pixels first."""

    baseline: str = "zero"
    blanks: ClassVar[tuple[str, ...]] = ("baseline",)

    def score(self, prepared: Evidence, maps: Tensor) -> Scores:
        """Areas (P,), lower is better; `tied` is the share of pixels whose order was drawn."""
        found = status_of(*self.area(prepared, maps, self.baseline, insertion=False))
        return replace(found, also={"tied": tied_scores(maps.flatten(1))})


@dataclass(frozen=True)
class Insertion(_Curves):
    """The area under the curve from a blank image (`blur`, `zero`) to the image, most important pixels first."""

    start: str = "blur"
    blanks: ClassVar[tuple[str, ...]] = ("start",)

    def score(self, prepared: Evidence, maps: Tensor) -> Scores:
        """Areas (P,), higher is better; `tied` is the share of pixels whose order was drawn."""
        found = status_of(*self.area(prepared, maps, self.start, insertion=True))
        return replace(found, also={"tied": tied_scores(maps.flatten(1))})


@dataclass(frozen=True)
class Combined(_Curves):
    """Insertion minus deletion; both are reported beside it, so this is the cheap way to all three."""

    start: str = "blur"
    baseline: str = "zero"
    blanks: ClassVar[tuple[str, ...]] = ("start", "baseline")

    def score(self, prepared: Evidence, maps: Tensor) -> Scores:
        """Differences (P,), higher is better, with `insertion`, `deletion` and `tied`."""
        insertion = self.area(prepared, maps, self.start, insertion=True)
        deletion = self.area(prepared, maps, self.baseline, insertion=False)
        found = status_of(insertion[0] - deletion[0], insertion[1] | deletion[1], insertion[2] | deletion[2])
        both = {"insertion": status_of(*insertion), "deletion": status_of(*deletion)}
        return replace(found, also=both | {"tied": tied_scores(maps.flatten(1))})
