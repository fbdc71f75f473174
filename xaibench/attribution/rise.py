"""RISE (Petsiuk et al. 2018): the probability of a class when random parts of the image are hidden."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError

BORDERS = ("mirror", "clamp")
ESTIMATORS = ("mean", "control-variate")


@dataclass(frozen=True)
class MaskSeeds:
    """The random numbers of masks: grids (B, N, cells, cells) of 0 and 1 and offsets (B, N, 2) in pixels.

    border: how a grid goes on beyond the centres of its outer cells, `mirror` as in the published code (which calls
    scikit-image's `resize` with mode `reflect`) or `clamp`.

    Masks at full size are made for each pass: 1000 of them at 224 pixels would take 191 MiB an image.
    """

    grids: Tensor
    offsets: Tensor
    size: tuple[int, int]
    border: str = "mirror"

    def masks(self, image: Tensor, number: Tensor) -> Tensor:
        """(n, 1, H, W) in [0, 1]: masks of some images, by image index (n,) and mask number (n,)."""
        grid, offset = self.grids[image, number], self.offsets[image, number]
        rows, columns = (self._interpolation(offset[:, axis], axis) for axis in (0, 1))
        return (rows @ grid @ columns.mT)[:, None]

    def _interpolation(self, offset: Tensor, axis: int) -> Tensor:
        """(n, length, cells): weights of bilinear enlargement (corners not aligned) to one cell more than the image,
        cropped at an offset."""
        cells, length = self.grids.shape[-1], self.size[axis]
        scale = cells / ((cells + 1) * math.ceil(length / cells))
        position = (torch.arange(length, device=offset.device) + offset[:, None] + 0.5) * scale - 0.5
        knots, last = torch.arange(cells, device=offset.device), cells - 1
        if self.border == "mirror":  # no position is as far as a cell outside
            position = last - (last - position.abs()).abs()
        weights = torch.relu(1 - (position.clamp(0, last)[:, :, None] - knots).abs())
        return weights.to(self.grids.dtype)


def mask_seeds(e: Evidence, masks: int, cells: int, keep: float, border: str = "mirror") -> MaskSeeds:
    """Masks of every image of the evidence, drawn from its own (seed, purpose, image id).

    Raises XaibenchError for less than one mask, and for a border that is not one of `BORDERS`.
    """
    if masks < 1:
        raise XaibenchError(f"RISE needs at least one mask, not {masks}")
    if border not in BORDERS:
        raise XaibenchError(f"the border of RISE's masks is {' or '.join(BORDERS)}, not {border!r}")

    def draw() -> MaskSeeds:
        height, width = e.images.shape[2:]
        # compared and rounded in float32, in which the numbers were drawn: the same masks for every dtype
        grids = (e.random("rise grids", (masks, cells, cells), torch.rand).float() < keep).to(e.images.dtype)
        cell = torch.tensor([math.ceil(height / cells), math.ceil(width / cells)], device=e.images.device)
        offsets = (e.random("rise offsets", (masks, 2), torch.rand).float() * cell).long()
        return MaskSeeds(grids, offsets, (height, width), border)

    return e.once(("rise masks", masks, cells, keep, border), draw, per_image=True)


def rise(
    e: Evidence,
    masks: int = 1000,
    cells: int = 8,
    keep: float = 0.1,
    baseline: str = "zero",
    space: str = "encoded",
    border: str = "mirror",
    estimator: str = "mean",
) -> Tensor:
    """(P, 1, H, W): mean over masks of the target's probability x mask, divided by the keep probability.

    A mask is a grid of 0 and 1 (1 with probability `keep`), enlarged and cropped at a random offset; hidden pixels are
    replaced by the baseline. A uniform baseline is drawn in a space: `encoded`, or `pixels`, an image of any pixels.
    border: `mirror` or `clamp`, see `MaskSeeds`.

    estimator: `mean` as published, or `control-variate`, which has the same expectation and less noise. The mean of a
    mask is known, `keep` everywhere; how far the mean of the drawn masks is from it, times the mean probability Y, is
    taken off: Y + sum of (y - Y) m over masks / ((masks - 1) keep).

    Raises XaibenchError for another estimator, and for a control variate with less than two masks.
    """
    if estimator not in ESTIMATORS:
        raise XaibenchError(f"the estimator of RISE is {' or '.join(ESTIMATORS)}, not {estimator!r}")
    centred = estimator == "control-variate"
    if centred and masks < 2:
        raise XaibenchError(f"RISE with a control variate needs at least two masks, not {masks}")
    seeds, start = mask_seeds(e, masks, cells, keep, border), e.baseline(baseline, space)

    def edit(image: Tensor, number: Tensor) -> Tensor:
        return torch.lerp(start, e.images[image], seeds.masks(image, number))

    logits = e.logits_under(("rise", masks, cells, keep, baseline, space, border), masks, edit)
    probability = e.scores(logits, "probability")
    mean = probability.mean(1, keepdim=True) if centred else torch.zeros_like(probability[:, :1])
    weights = probability - mean
    total = torch.zeros(len(e.targets), 1, *seeds.size, dtype=e.images.dtype, device=e.images.device)

    def weighted(index: Tensor) -> Tensor:
        pair, number = index // masks, index % masks
        return seeds.masks(e.owner[pair], number) * weights[pair, number, None, None, None]

    for part, values in e.runner.stream(len(e.targets) * masks, weighted, total.device):
        index = torch.arange(part.start, part.stop, device=total.device)
        total.index_add_(0, index // masks, values)
    return mean[:, :, None, None] + total / ((masks - centred) * keep)
