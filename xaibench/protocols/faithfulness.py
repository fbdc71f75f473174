"""Infidelity and Sensitivity-n: do sums of a map foretell how the model's output changes?

Infidelity: Yeh et al., NeurIPS 2019: small noise on all pixels. Sensitivity-n: Ancona et al., ICLR 2018: random sets of
deleted cells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Protocol, Scores, status_of
from xaibench.protocols.curves import constant_or_not_finite
from xaibench.protocols.patches import cell_masks, cell_sums, check_grid
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices, check_positive, check_whole
from xaibench.seeds import generator


def infidelity_score(foretold: Tensor, drops: Tensor) -> Tensor:
    """(P,) in [0, 1], lower is better: mean((b foretold - drops)²) / mean(drops²), both (P, samples).

    b >= 0 is the scale of the map that fits best, as maps have no common unit; 1 says that b = 0 does: the map
    foretells nothing, or the opposite. captum's `infidelity(normalize=True)` is the numerator, with b of either sign.
    NaN where all drops are 0.
    """
    product = (foretold * drops).sum(1).clamp(min=0)
    cosine = product / (foretold.norm(dim=1) * drops.norm(dim=1))
    return 1 - torch.where(foretold.abs().amax(1) == 0, torch.zeros_like(cosine), cosine).square()


def pearson(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's correlation (...,) in [-1, 1] of x and y (..., n) in float64; NaN where a side is constant."""
    x, y = (values.double() - values.double().mean(-1, keepdim=True) for values in (x, y))
    return ((x * y).sum(-1) / (x.norm(dim=-1) * y.norm(dim=-1))).clamp(-1, 1)


def sensitivity_n_score(sums: Tensor, drops: Tensor) -> Tensor:
    """(P,) in [-1, 1], higher is better: Pearson's correlation of sums of the map over sets with the drops when these
    sets are deleted, both (P, sets); NaN where either is constant."""
    return pearson(sums, drops)


@dataclass(frozen=True)
class Infidelity(Protocol):
    """Settings: samples of noise, sigma (standard deviation, encoded units; the same noise on all channels, as a map
    has one), target (label, prediction), attribution_output and drop_output (logit, probability)."""

    samples: int = 64
    sigma: float = 0.1
    target: str = "label"
    attribution_output: str = "logit"
    drop_output: str = "logit"

    def __post_init__(self):
        check_choices(self, target=TARGETS, attribution_output=OUTPUTS, drop_output=OUTPUTS)
        check_whole(self, samples=2)
        check_positive(self, "sigma")

    def prepare(self, e: Evidence) -> tuple[Evidence, Tensor]:
        """The evidence, and the drops (P, samples) when noise is taken off the image, once for all methods."""

        def edit(image: Tensor, sample: Tensor) -> Tensor:
            drawn = [self._noise(e, i, s) for i, s in zip(image.tolist(), sample.tolist(), strict=True)]
            return e.images[image] - torch.stack(drawn).to(e.images)

        noisy = e.logits_under(("infidelity", self.samples, self.sigma), self.samples, edit)
        intact = e.scores(e.logits(), self.drop_output).double()
        return e, intact[:, None] - e.scores(noisy, self.drop_output).double()

    def score(self, prepared: tuple[Evidence, Tensor], maps: Tensor) -> Scores:
        """Scores (P,), lower is better, and `infidelity-raw`, the mean square of the difference with the map as it is.
        Undefined where the map is constant; the reference's fault where the output does not move."""
        e, drops = prepared
        bad_maps = constant_or_not_finite(maps)
        bad_drops = ~drops.isfinite().all(1) | (drops == 0).all(1)
        flat = torch.where(bad_maps[:, None, None, None], 0.0, maps.double())
        foretold = torch.empty_like(drops)
        for image in range(len(e.images)):
            mine = e.owner == image
            if mine.any():
                noise = torch.stack([self._noise(e, image, s) for s in range(self.samples)]).to(flat)
                foretold[mine] = flat[mine].flatten(1) @ noise.flatten(1).T
        raw = status_of((foretold - drops).square().mean(1), bad_maps, bad_drops)
        return replace(status_of(infidelity_score(foretold, drops), bad_maps, bad_drops), also={"infidelity-raw": raw})

    def _noise(self, e: Evidence, image: int, sample: int) -> Tensor:
        """(1, H, W): what is taken off all channels of an image of the batch, on the CPU, not remembered."""
        drawn = generator(e.seed, f"infidelity {sample}", e.image_ids[image])
        return self.sigma * torch.randn(1, *e.images.shape[-2:], generator=drawn)


@dataclass(frozen=True)
class SensitivityN(Protocol):
    """Settings: grid (cells a side), share of the cells that a set deletes, sets, target (label, prediction),
    attribution_output and drop_output (logit, probability). Deleted cells become the zero baseline."""

    grid: int = 8
    share: float = 0.25
    sets: int = 64
    target: str = "label"
    attribution_output: str = "logit"
    drop_output: str = "logit"

    def __post_init__(self):
        check_choices(self, target=TARGETS, attribution_output=OUTPUTS, drop_output=OUTPUTS)
        check_whole(self, grid=2, sets=3)
        if not isinstance(self.share, (int, float)) or not 0 < self.share < 1:
            raise XaibenchError(f"share is a number between 0 and 1, not {self.share!r}")

    def check(self, size: tuple[int, int]) -> None:
        """Raises XaibenchError unless images of size (H, W) divide into the grid's cells."""
        check_grid(size, self.grid)

    def prepare(self, e: Evidence) -> tuple[Tensor, Tensor]:
        """Sets (P, sets, grid²) bool of deleted cells, drawn per image, and the drops (P, sets), once for all."""
        key, size = ("sensitivity-n", self.grid, self.share, self.sets), tuple(e.images.shape[-2:])
        cells = cell_masks(size, self.grid, torch.arange(self.grid**2)).int().argmax(0)[0].to(e.images.device)

        def draw() -> Tensor:
            shuffled = e.random("sensitivity-n", (self.sets, self.grid**2), torch.rand).argsort(-1).argsort(-1)
            return shuffled < max(1, round(self.share * self.grid**2))

        sets = e.once(key, draw, per_image=True)

        def edit(image: Tensor, number: Tensor) -> Tensor:
            image, number = image.to(sets.device), number.to(sets.device)
            return torch.where(sets[image, number][:, cells][:, None], e.baseline("zero"), e.images[image])

        deleted = e.scores(e.logits_under(key, self.sets, edit), self.drop_output).double()
        return sets[e.owner], e.scores(e.logits(), self.drop_output).double()[:, None] - deleted

    def score(self, prepared: tuple[Tensor, Tensor], maps: Tensor) -> Scores:
        """Correlations (P,), higher is better; undefined where the map or its sums are constant, the reference's fault
        where the drops are."""
        sets, drops = prepared
        values = cell_sums(maps, self.grid)
        bad_maps = constant_or_not_finite(maps) | constant_or_not_finite(values)
        sums = (sets.double() @ torch.where(bad_maps[:, None], 0.0, values)[:, :, None])[..., 0]
        found = sensitivity_n_score(sums, drops)
        bad_drops = constant_or_not_finite(drops)
        return status_of(found, bad_maps | constant_or_not_finite(sums) | found.isnan(), bad_drops)
