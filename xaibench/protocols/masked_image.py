"""What protocols share that multiply an image by its map: the scaled map, and what the model says of the product."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Protocol
from xaibench.protocols.curves import pair_scores
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices
from xaibench.protocols.statistics import min_max

SCALINGS = ("min-max", "positive", "absolute")
BASELINES = ("zero", "black")


def scaled_map(maps: Tensor, scaling: str = "min-max") -> Tensor:
    """Maps scaled to [0, 1], each by its own minimum and maximum.

    Args:
        maps: (P, 1, H, W), any floating dtype.
        scaling: what is scaled: the signed map (`min-max`), its positive part (`positive`, which is all that class
            activation maps have), or its absolute value (`absolute`, as in Xplique).

    Returns:
        (P, 1, H, W) float64; NaN throughout where what is scaled is constant or not finite.

    Raises:
        XaibenchError: another scaling.

    Examples:
        >>> import torch
        >>> from xaibench.functional import scaled_map
        >>> scaled_map(torch.tensor([[[[-2.0, 0.0, 2.0]]]])).tolist()
        [[[[0.0, 0.5, 1.0]]]]
        >>> scaled_map(torch.tensor([[[[-2.0, 0.0, 2.0]]]]), "positive").tolist()
        [[[[0.0, 0.0, 1.0]]]]
    """
    if scaling not in SCALINGS:
        raise XaibenchError(f"scaling is {' or '.join(SCALINGS)}, not {scaling!r}")
    values = {"positive": maps.clamp(min=0), "absolute": maps.abs()}.get(scaling, maps)
    return min_max(values).view(maps.shape)


@dataclass(frozen=True)
class Masked:
    """The masks (P, 1, H, W) float64 in [0, 1] that maps are scaled to, NaN where they cannot be, and the images
    (P, C, H, W) times these."""

    masks: Tensor
    images: Tensor

    @property
    def bad_maps(self) -> Tensor:
        """(P,) bool: where there is no mask, as what is scaled is constant or not finite."""
        return self.masks.flatten(1).isnan().any(1)

    @property
    def area(self) -> Tensor:
        """(P,) float64 in [0, 1]: the mean of the mask, which ADCC calls complexity."""
        return self.masks.mean((1, 2, 3))


@dataclass(frozen=True)
class MaskedImage(Protocol):
    """A protocol that asks the model about the image times its scaled map.

    Settings: scaling of the map (min-max, positive, absolute); baseline that an image fades to where the map is low:
    `zero` (the encoded image is multiplied, as published code does: the mean colour) or `black` (pixels are);
    target explained and scored (label, prediction); attribution_output explained (logit, probability).
    """

    scaling: str = "min-max"
    baseline: str = "zero"
    target: str = "label"
    attribution_output: str = "logit"

    def __post_init__(self):
        check_choices(self, scaling=SCALINGS, baseline=BASELINES, target=TARGETS, attribution_output=OUTPUTS)

    def prepare(self, e: Evidence) -> Evidence:
        """The evidence, with the logits of the images; raises XaibenchError for `black` with an unknown encoding."""
        e.logits()
        faded_to(e, self.baseline)
        return e

    def mask(self, e: Evidence, maps: Tensor) -> Masked:
        """The image of each pair times its scaled map."""
        masks, start = scaled_map(maps, self.scaling), faded_to(e, self.baseline)
        return Masked(masks, torch.lerp(start, e.inputs, masks.nan_to_num(0).to(e.images)))

    def confidences(self, e: Evidence, masked: Masked) -> tuple[Tensor, Tensor]:
        """The target's probability of the image and of the masked image, (P,) float64: one forward pass per pair.

        In float64 a probability that float32 rounds to 1 still has a way to 1.
        """
        logits = e.runner.logits(len(masked.images), lambda index: masked.images[index], masked.images.device)
        return e.scores(e.logits().double(), "probability"), pair_scores(e, logits.double(), "probability")


def faded_to(e: Evidence, baseline: str) -> Tensor:
    """The image (C, H, W), in encoded space, of a baseline: `zero`, or `black`."""
    if baseline == "zero":
        return e.baseline("zero")
    encoding, size = e.pixel_encoding("pixels"), e.images.shape[2:]
    return encoding.of_pixels(torch.zeros(len(encoding.mean), *size)).to(e.images)
