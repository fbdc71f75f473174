"""Random logit: does a map change when another class is explained? Sixt, Granz, Landgraf, ICML 2020.

A map that is the same for all classes does not explain a decision between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Protocol, Scores, status_of
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices
from xaibench.protocols.statistics import constant_or_not_finite
from xaibench.seeds import generator
from xaibench.surroundings import without_modes

OTHERS = ("random", "second", "last")
SCALINGS = ("quantile", "largest")
TAIL = 0.01  # the share of a map's values that become 0, and of those that become 1
WINDOW, SIGMA = 11, 1.5  # of the Gaussian window, in pixels
K1, K2 = 0.01, 0.03


@without_modes()
def structural_similarity(maps: Tensor, others: Tensor) -> Tensor:
    """The structural similarity index (SSIM) of two maps.

    The mean over all windows inside of the image (Gaussian, 11 pixels of standard deviation 1.5, or the largest odd
    side that fits) of (2 m n + C1) (2 cov + C2) / ((m² + n² + C1) (var + var' + C2)), m and n being the means of both
    maps; C1 = (0.01 L)², C2 = (0.03 L)², L the range of the values of both maps together.

    Args:
        maps: (P, 1, H, W), any floating dtype. The index is made for values of one sign: of a map and its negative both
            factors are negative, and their product is positive.
        others: (P, 1, H, W).

    Returns:
        (P,) float64 in [-1, 1], the lower, the more they differ; 1 for the same map, NaN where either map is not finite
        or both are one constant.

    Examples:
        >>> import torch
        >>> from xaibench.functional import structural_similarity
        >>> maps = torch.linspace(0, 1, 144).view(1, 1, 12, 12)
        >>> structural_similarity(maps, maps).tolist()
        [1.0]

    Source: Wang, Bovik, Sheikh, Simoncelli, Image Quality Assessment: From Error Visibility to Structural Similarity,
    IEEE Transactions on Image Processing 2004; of maps: Adebayo et al., NeurIPS 2018.
    """
    finite = maps.flatten(1).isfinite().all(1) & others.flatten(1).isfinite().all(1)
    a, b = (each.double().nan_to_num(0, 0, 0) for each in (maps, others))
    both = torch.cat([a, b], 1).flatten(1)
    spread = both.amax(1) - both.amin(1)
    size = min(WINDOW, *maps.shape[-2:])
    taps = _taps(size - (size + 1) % 2).to(a)
    m, n, aa, bb, ab = (_windowed(each, taps) for each in (a, b, a * a, b * b, a * b))
    c1, c2 = ((k * spread).square()[:, None, None, None] for k in (K1, K2))
    luminance = (2 * m * n + c1) / (m * m + n * n + c1)
    structure = (2 * (ab - m * n) + c2) / (aa - m * m + bb - n * n + c2)
    return torch.where(finite & (spread > 0), (luminance * structure).mean((1, 2, 3)), torch.nan)


def _taps(size: int) -> Tensor:
    """(size,) float64: a Gaussian that sums to 1; the window is its outer product with itself."""
    offsets = torch.arange(size, dtype=torch.float64) - size // 2
    taps = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    return taps / taps.sum()


def _windowed(values: Tensor, taps: Tensor) -> Tensor:
    """Weighted means (P, 1, H', W') over all windows inside of values (P, 1, H, W): along columns, then along rows."""
    return conv2d(conv2d(values, taps.view(1, 1, -1, 1)), taps.view(1, 1, 1, -1))


def _scaled(maps: Tensor, scaling: str) -> Tensor:
    """Maps (P, 1, H, W) as they are compared, float64; one without two different values becomes 0, one that is not
    finite NaN.

    quantile: 0 and 1 are the values that a hundredth of the map is below or above, and what is beyond is cut off.
    largest: divided by the largest absolute value.
    """
    values = torch.where(maps.flatten(1).isfinite().all(1, keepdim=True), maps.flatten(1).double(), torch.nan)
    if scaling == "largest":
        low, high = torch.zeros(()).to(values), values.abs().amax(1, keepdim=True)
    else:
        low, high = values.quantile(values.new_tensor([TAIL, 1 - TAIL]), 1).unsqueeze(-1)
    scaled = torch.where(high == low, 0.0, (values - low) / (high - low))
    return (scaled if scaling == "largest" else scaled.clamp(0, 1)).view(maps.shape)


@dataclass(frozen=True)
class RandomLogit(Protocol):
    """Settings: other, the class that the map is compared with (random: drawn per image; second: that of the highest
    logit besides the target's; last: of the lowest); scaling of the maps (quantile: to [0, 1] as in the paper; largest:
    by the largest absolute value as in Quantus); target (label, prediction); attribution_output (logit, probability).
    """

    other: str = "random"
    scaling: str = "quantile"
    target: str = "label"
    attribution_output: str = "logit"

    def __post_init__(self):
        check_choices(self, other=OTHERS, scaling=SCALINGS, target=TARGETS, attribution_output=OUTPUTS)

    def prepare(self, e: Evidence) -> Evidence:
        """Evidence about the other class of each image, the same for all methods."""
        return e.explaining(self.other_classes(e), e.owner, e.output)

    def other_classes(self, e: Evidence) -> Tensor:
        """(P,) int64: the class that each pair is compared with, never its own."""
        logits = e.logits()[e.owner]
        if self.other == "random":
            drawn = [
                int(torch.randint(logits.shape[1] - 1, (), generator=generator(e.seed, "other class", image_id)))
                for image_id in e.pair_ids
            ]
            drawn = torch.tensor(drawn, device=e.targets.device)
            return drawn + (drawn >= e.targets)
        sign = 1 if self.other == "second" else -1
        return (sign * logits.double()).scatter(1, e.targets[:, None], -torch.inf).argmax(1)

    def score(self, prepared: Evidence, maps: Tensor) -> Scores:
        """Raises XaibenchError: maps of the other class are needed."""
        raise XaibenchError("random-logit explains another class: it needs the method, not only its maps")

    def score_method(self, prepared: Evidence, maps: Tensor, again: Callable[[Evidence], Tensor]) -> Scores:
        """Similarities (P,), lower is better: the larger one of those with the other map and with its negative, as a
        map that only turns its sign says the same; `same-sign` is the first of the two. Undefined where the scaled map
        is constant, or either is not finite."""
        others, shown = again(prepared), _scaled(maps, self.scaling)
        same, turned = (structural_similarity(shown, _scaled(each, self.scaling)) for each in (others, -others))
        bad_maps = constant_or_not_finite(maps) | constant_or_not_finite(shown) | same.isnan()
        none = torch.zeros_like(bad_maps)
        also = {"same-sign": status_of(same, bad_maps, none)}
        return replace(status_of(torch.maximum(same, turned), bad_maps, none), also=also)
