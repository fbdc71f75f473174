"""F-Fidelity: how much does the confidence fall without random pixels of the explanation, or of the rest?

Zheng et al., ICLR 2025. The model is fine-tuned on images without a random share of at most beta of their pixels, and
no more than that share is ever removed, so that no image is out of the model's domain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.cards import Alignment
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Protocol, Scores, misaligned, status_of
from xaibench.protocols.curves import pair_scores, removal_places, stand_in, tie_order, tied_scores
from xaibench.protocols.patches import BASELINES
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices, check_whole
from xaibench.protocols.statistics import constant_or_not_finite
from xaibench.seeds import generator


def f_fidelity_score(intact: Tensor, removed: Tensor) -> Tensor:
    """FFid: how much the target's probability falls without random pixels, mean over sizes and draws.

    mean over sizes s and draws k of (intact - removed[s, k]). Where pixels of the explanation are removed this is FFid+
    (higher is better), where pixels of the rest are removed FFid- (lower is better).

    Args:
        intact: (P,) floating: the target's probability on the image.
        removed: (P, sizes, ..., samples): its probability without some pixels, for each size of the explanation and
            each random draw; dimensions between the two stay.

    Returns:
        (P, ...) of the dtype of the probabilities, in [-1, 1].

    Examples:
        >>> import torch
        >>> from xaibench.functional import f_fidelity_score
        >>> f_fidelity_score(torch.tensor([1.0]), torch.tensor([[[0.5, 1.0], [0.25, 0.25]]]))
        tensor([0.5000])

    Source: Zheng et al., F-Fidelity: A Robust Framework for Faithfulness Evaluation of Explainable AI, ICLR 2025.
    """
    return (intact.view(-1, *[1] * (removed.ndim - 1)) - removed).mean((1, -1))


def removals(units: int, steps: int, alpha: float, beta: float) -> list[tuple[int, int, int]]:
    """For each size s = 1/steps, ..., 1 - 1/steps of the explanation: its units, and how many of it and of the rest are
    removed.

    Of a set of n units round(min(alpha n, beta units)) are removed, at least 1.
    """
    rows = []
    for step in range(1, steps):
        top = max(1, min(units - 1, round(step * units / steps)))
        removed = [max(1, round(min(alpha * n, beta * units))) for n in (top, units - top)]
        rows.append((top, *removed))
    return rows


def first_in_range(places: Tensor, order: Tensor, low: int, high: int, count: int) -> Tensor:
    """(n, units) bool: the `count` units that come first in random orders among those with places in [low, high).

    places (n, units) int64 by a map, 0 for the most important; order (n, units) int64, a place in a random order.
    """
    inside = (places >= low) & (places < high)
    kept = torch.where(inside, order, order.shape[1])
    return inside & (kept <= kept.kthvalue(count, dim=1, keepdim=True).values)


@dataclass(frozen=True)
class FFidelity(Protocol):
    """FFid+: how much the target's probability falls without random pixels of the explanation, mean over its sizes.

    Settings: alpha, the share of the explanation, or of the rest, that is removed; beta, the largest share of all
    pixels that is removed, on which the model must have been fine-tuned; steps, which gives the sizes 1/steps to
    1 - 1/steps of the explanation; samples, random draws for each size (the paper has 50); baseline (zero, random,
    blur), target and attribution_output. The further metric `ffid-minus` removes from the rest instead; lower is
    better.
    """

    alpha: float = 0.5
    beta: float = 0.1
    steps: int = 10
    samples: int = 4
    baseline: str = "zero"
    target: str = "label"
    attribution_output: str = "logit"

    def __post_init__(self):
        check_choices(self, baseline=BASELINES, target=TARGETS, attribution_output=OUTPUTS)
        check_whole(self, steps=2, samples=1)
        for name in ("alpha", "beta"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
                raise XaibenchError(f"{name} is a share above 0 and at most 1, not {value!r}")

    @property
    def description(self) -> str:
        """Such as `alpha 0.5, beta 0.1, 9 sizes, 4 samples, zero baseline, label, logit`."""
        sizes = f"alpha {self.alpha:g}, beta {self.beta:g}, {self.steps - 1} sizes, {self.samples} samples"
        return f"{sizes}, {self.baseline} baseline, {self.target}, {self.attribution_output}"

    @property
    def alignment(self) -> Alignment:
        """Random masks of at most a share beta."""
        return Alignment(kind="pixels", baseline=self.baseline, probability=self.beta)

    def check_weights(self, alignment: Alignment | None) -> str | None:
        """Weights are in-domain when they were fine-tuned on masks of the same share and baseline."""
        return misaligned(self.alignment, alignment)

    def prepare(self, e: Evidence) -> Evidence:
        """The evidence, in which random orders and what replaces pixels are remembered for all methods."""
        self._orders(e), stand_in(e, self.baseline)
        return e

    def score(self, prepared: Evidence, maps: Tensor) -> Scores:
        """FFid+ (P,) in [-1, 1], higher is better; `ffid-minus` and `tied`. Undefined where a map is constant."""
        plus, minus = self._falls(prepared, maps)
        bad_maps = constant_or_not_finite(maps)
        bad_reference = ~(plus.isfinite() & minus.isfinite())
        also = {"ffid-minus": status_of(minus, bad_maps, bad_reference), "tied": tied_scores(maps.flatten(1))}
        return replace(status_of(plus, bad_maps, bad_reference), also=also)

    def _orders(self, e: Evidence) -> Tensor:
        """(B, samples, units) int64: random orders of the pixels of each image, the same for all methods."""
        units = e.images.shape[-2] * e.images.shape[-1]

        def draw() -> Tensor:
            drawn = []
            for image_id in e.image_ids:
                source = generator(e.seed, "f-fidelity", image_id)
                drawn.append(torch.stack([torch.randperm(units, generator=source) for _ in range(self.samples)]))
            return torch.stack(drawn).to(e.images.device)

        return e.once(("f-fidelity orders", self.samples, units), draw, per_image=True)

    def _falls(self, e: Evidence, maps: Tensor) -> tuple[Tensor, Tensor]:
        """(P,) each: mean falls of the target's probability without pixels of the explanation, and of the rest."""
        size, units = tuple(maps.shape[-2:]), maps[0].numel()
        places = removal_places(maps.flatten(1), tie_order(e, units))
        cases = [
            (low, high, count, sample)
            for top, of_it, of_rest in removals(units, self.steps, self.alpha, self.beta)
            for low, high, count in ((0, top, of_it), (top, units, of_rest))
            for sample in range(self.samples)
        ]
        orders, blank, owners = self._orders(e), stand_in(e, self.baseline), e.owner.tolist()

        def inputs(index: Tensor) -> Tensor:
            images = []
            for number in index.tolist():
                pair, case = divmod(number, len(cases))
                low, high, count, sample = cases[case]
                image = owners[pair]
                removed_pixels = first_in_range(places[pair : pair + 1], orders[image, sample][None], low, high, count)
                images.append(torch.where(removed_pixels.view(1, *size), blank[image], e.images[image]))
            return torch.stack(images)

        logits = e.runner.logits(len(maps) * len(cases), inputs).unflatten(0, (-1, len(cases)))
        removed = pair_scores(e, logits, "probability").unflatten(1, (self.steps - 1, 2, self.samples))
        falls = f_fidelity_score(e.scores(e.logits(), "probability").double(), removed)
        return falls[:, 0], falls[:, 1]
