"""ROAD: remove and debias. Deletion curves whose removed pixels are filled from their neighbours.

Rong et al., ICML 2022. The accuracy of the paper is replaced by the target's probability, a score per image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Protocol, Scores, status_of
from xaibench.protocols.curves import pair_scores, removal_counts, removal_places, tie_order, tied_scores
from xaibench.protocols.imputation import linear_imputation
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices, check_whole
from xaibench.protocols.statistics import constant_or_not_finite


def road_score(least_first: Tensor, most_first: Tensor) -> Tensor:
    """Half of the difference between the mean probabilities without the least and the most important pixels.

    (mean(least_first) - mean(most_first)) / 2

    Args:
        least_first: (P, n) floating: the target's probability after each of n removals, the least important pixels
            first.
        most_first: (P, n), the most important pixels first.

    Returns:
        (P,) of the dtype of the curves, in [-0.5, 0.5], higher is better; a random order scores 0 on average.

    Examples:
        >>> import torch
        >>> from xaibench.functional import road_score
        >>> road_score(torch.tensor([[1.0, 0.5]]), torch.tensor([[0.5, 0.0]]))
        tensor([0.2500])

    Source: Rong, Leemann, Borisov, Kasneci, Kasneci, A Consistent and Efficient Evaluation Strategy for Attribution
    Methods, ICML 2022; the combination of both orders is that of pytorch-grad-cam's `ROADCombined`.
    """
    return (least_first.mean(1) - most_first.mean(1)) / 2


def noisy_imputation(image: Tensor, removed: Tensor, noise: Tensor) -> Tensor:
    """An image whose removed pixels are weighted means of their neighbours, plus noise.

    Direct neighbours weigh 1/6, diagonal ones 1/12; all removed pixels are solved for together.

    Args:
        image: (C, H, W) floating.
        removed: (H, W) bool, not all true.
        noise: (C, H, W), added where pixels are removed.

    Returns:
        (C, H, W) of the dtype of the image.

    Examples:
        >>> import torch
        >>> from xaibench.functional import noisy_imputation
        >>> image, removed = torch.tensor([[[1.0, 9.0, 3.0]]]), torch.tensor([[False, True, False]])
        >>> noisy_imputation(image, removed, torch.zeros_like(image))
        tensor([[[1., 2., 3.]]])

    Source: Rong, Leemann, Borisov, Kasneci, Kasneci, A Consistent and Efficient Evaluation Strategy for Attribution
    Methods, ICML 2022 (noisy linear imputation).
    """
    filled = torch.from_numpy(linear_imputation(image.cpu().numpy(), removed.cpu().numpy())).to(image)
    return torch.where(removed, filled + noise, image)


@dataclass(frozen=True)
class Road(Protocol):
    """Settings: steps (10: after each tenth of the pixels but the last), noise (standard deviation, encoded units),
    target (label, prediction) and attribution_output (logit, probability). Both orders are computed."""

    steps: int = 10
    noise: float = 0.01
    target: str = "label"
    attribution_output: str = "logit"

    def __post_init__(self):
        check_choices(self, target=TARGETS, attribution_output=OUTPUTS)
        check_whole(self, steps=2)
        if not isinstance(self.noise, (int, float)) or not 0 <= self.noise < float("inf"):
            raise XaibenchError(f"noise is a standard deviation, 0 or more, not {self.noise!r}")

    def check(self, size: tuple[int, int]) -> None:
        """Raises XaibenchError where images of size (H, W) have fewer pixels than there are steps."""
        if size[0] * size[1] < self.steps:
            raise XaibenchError(f"{self.steps} steps need at least as many pixels; images have {size[0]}x{size[1]}")

    def prepare(self, e: Evidence) -> Evidence:
        """The evidence, in which the noise (B, C, H, W) is remembered."""
        self._noise(e)
        return e

    def score(self, prepared: Evidence, maps: Tensor) -> Scores:
        """Scores (P,), higher is better; `least-first` (higher is better) and `most-first` (lower is better) are the
        two means, `tied` is the share of pixels whose order was drawn."""
        least, most = self._heights(prepared, maps)
        bad_maps, bad_heights = constant_or_not_finite(maps), ~torch.cat([least, most], 1).isfinite().all(1)
        also = {
            "least-first": status_of(least.mean(1), bad_maps, bad_heights),
            "most-first": status_of(most.mean(1), bad_maps, bad_heights),
            "tied": tied_scores(maps.flatten(1)),
        }
        return replace(status_of(road_score(least, most), bad_maps, bad_heights), also=also)

    def _noise(self, e: Evidence) -> Tensor:
        draw = lambda: self.noise * e.random("imputation noise", e.images.shape[1:])  # noqa: E731
        return e.once(("imputation noise", self.noise), draw, per_image=True)

    def _heights(self, e: Evidence, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (P, steps - 1) after 1, ..., steps - 1 steps, the least or the most important pixels first."""
        size, pixels, owners = maps.shape[-2:], maps[0].numel(), e.owner.tolist()
        places = removal_places(maps.flatten(1), tie_order(e, pixels)).unflatten(1, size)
        limits = removal_counts(pixels, self.steps)[1:-1]
        both = ((pixels - 1 - places).cpu(), places.cpu())
        originals, noise = e.images.cpu(), self._noise(e).cpu()  # SciPy solves on the CPU

        def inputs(index: Tensor) -> Tensor:
            images = []
            for number in index.tolist():
                pair, step = divmod(number, 2 * len(limits))
                order, step = divmod(step, len(limits))
                image = owners[pair]
                removed = both[order][pair] < limits[step]
                images.append(noisy_imputation(originals[image], removed, noise[image]))
            return torch.stack(images).to(e.images)

        logits = e.runner.logits(len(maps) * 2 * len(limits), inputs).unflatten(0, (-1, 2 * len(limits)))
        heights = pair_scores(e, logits, "probability")
        return heights[:, : len(limits)], heights[:, len(limits) :]
