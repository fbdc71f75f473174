"""Part deletion: does a map rank the parts of an object as their removal from the scene does?

Hesse, Schaub-Meyer, Roth: FunnyBirds, ICCV 2023. A part is not painted over: the scene is drawn again without it, so
what was behind it becomes visible.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.cards import Alignment
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Protocol, Scores, status_of
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices, check_whole
from xaibench.protocols.statistics import constant_or_not_finite, spearman


@dataclass(frozen=True)
class Parts:
    """The effect of removing each of n parts: masks (P, n, H, W) bool, drops (P, n) float64; a part that is not visible
    has an empty mask and the drop NaN."""

    masks: Tensor
    drops: Tensor

    @property
    def visible(self) -> Tensor:
        """(P, n) bool."""
        return self.masks.flatten(2).any(2)


def part_sums(maps: Tensor, masks: Tensor) -> Tensor:
    """The sum of a map over each part of an object.

    Args:
        maps: (P, 1, H, W), any real dtype.
        masks: (P, n, H, W) bool: the visible pixels of each part.

    Returns:
        (P, n) float64.

    Examples:
        >>> import torch
        >>> from xaibench.functional import part_sums
        >>> masks = torch.tensor([[[[True, True, False]], [[False, False, True]]]])
        >>> part_sums(torch.tensor([[[[1.0, 2.0, 5.0]]]]), masks).tolist()
        [[3.0, 5.0]]
    """
    return torch.where(masks, maps.double(), 0.0).sum((2, 3))


def part_deletion_score(sums: Tensor, drops: Tensor, visible: Tensor) -> Tensor:
    """Spearman's correlation, over the visible parts, of the attribution in a part with what its removal costs.

    Args:
        sums: (P, n), any real dtype: see `part_sums`.
        drops: (P, n): f(x) - f(x drawn without the part).
        visible: (P, n) bool: the parts that count.

    Returns:
        (P,) float64 in [-1, 1], higher is better; NaN where the visible sums or drops are constant or not finite, or no
        part is visible. The published number is 0.5 x this + 0.5.

    Examples:
        >>> import torch
        >>> from xaibench.functional import part_deletion_score
        >>> sums, drops = torch.tensor([[3.0, 2.0, 1.0, 9.0]]), torch.tensor([[0.5, 0.2, 0.1, 0.0]])
        >>> part_deletion_score(sums, drops, torch.tensor([[True, True, True, False]])).round(decimals=6).tolist()
        [1.0]

    Source: Hesse, Schaub-Meyer, Roth, FunnyBirds: A Synthetic Vision Dataset for a Part-Based Analysis of Explainable
    AI Methods, ICCV 2023 (single deletion).
    """
    pairs = zip(sums, drops, visible, strict=True)
    return torch.stack([spearman(s[v], d[v]) if v.any() else s.new_tensor(torch.nan) for s, d, v in pairs])


def redraw_logits(e: Evidence, parts: list[list[str]]) -> list[Tensor]:
    """For each image of the batch the logits (n, K) of its scene without each of its n named parts."""
    removals = [(image, part) for image, names in enumerate(parts) for part in names]
    if not removals:
        return [torch.empty(0)] * len(parts)

    def inputs(index: Tensor) -> Tensor:
        return torch.cat([e.annotations.redrawn(image, [(part,)]) for image, part in (removals[i] for i in index)]).to(
            e.images
        )

    return list(e.runner.logits(len(removals), inputs).split([len(names) for names in parts]))


def removed_parts(e: Evidence, output: str) -> Parts:
    """The visible parts of each pair's labelled object, and how much the target's score drops without each."""
    if e.annotations is None:
        raise XaibenchError(
            "part deletion needs a data set with parts that can draw scenes without them; use `xaibench.run`"
        )
    known = [e.annotations[image].parts for image in range(len(e.images))]
    names = [[name for name, mask in parts.items() if mask.any()] for parts in known]
    logits = e.once(("without parts",), lambda: redraw_logits(e, names), per_image=True)
    columns = {name: column for column, name in enumerate(dict.fromkeys(name for found in names for name in found))}
    masks = torch.zeros(len(e.targets), len(columns), *e.images.shape[-2:], dtype=torch.bool)
    without = torch.full((len(e.images), len(columns), e.logits().shape[1]), torch.nan).to(e.logits())
    for image, found in enumerate(names):
        for row, name in enumerate(found):
            without[image, columns[name]] = logits[image][row]
    for pair, image in enumerate(e.owner.tolist()):
        for name in names[image]:
            masks[pair, columns[name]] = torch.from_numpy(known[image][name])
    drops = e.scores(e.logits(), output).double()[:, None] - e.scores(without, output).double()
    return Parts(masks.to(e.images.device), drops)


@dataclass(frozen=True)
class PartDeletion(Protocol):
    """Settings: target (label, prediction), attribution_output, drop_output (logit, probability), and least_parts, the
    fewest visible parts that can be ranked. All visible parts of the labelled object count."""

    needs: ClassVar[tuple[str, ...]] = ("parts", "redraw")
    has_oracle: ClassVar[bool] = True
    target: str = "label"
    attribution_output: str = "logit"
    drop_output: str = "logit"
    least_parts: int = 3

    def __post_init__(self):
        check_choices(self, target=TARGETS, attribution_output=OUTPUTS, drop_output=OUTPUTS)
        check_whole(self, least_parts=2)

    @property
    def alignment(self) -> Alignment:
        """Each part dropped from the images that are learnt from with probability 0.2."""
        return Alignment(kind="parts", probability=0.2)

    def prepare(self, e: Evidence) -> Parts:
        """Masks and drops of the parts, once for all methods."""
        return e.once(("part drops", self.drop_output), lambda: removed_parts(e, self.drop_output))

    def score(self, prepared: Parts, maps: Tensor) -> Scores:
        """Spearman (P,) over the parts, and `rho-scaled`, the same from 0 to 1. Undefined where the map is constant or
        its sums are; the reference's fault where there are fewer than `least_parts` or their drops are all equal."""
        sums, visible = part_sums(maps, prepared.masks), prepared.visible
        rho = part_deletion_score(sums, prepared.drops, visible)
        bad_maps = constant_or_not_finite(maps) | _unrankable(sums, visible)
        bad_reference = (visible.sum(1) < self.least_parts) | _unrankable(prepared.drops, visible)
        scaled = status_of(0.5 * rho + 0.5, bad_maps, bad_reference)
        return replace(status_of(rho, bad_maps, bad_reference), also={"rho-scaled": scaled})

    def oracle(self, prepared: Parts, size: tuple[int, int]) -> Tensor:
        """The drops themselves, each spread over the pixels of its part."""
        areas = prepared.masks.sum((2, 3)).clamp(min=1)
        share = torch.where(prepared.visible, prepared.drops / areas, 0.0)
        return (share[:, :, None, None] * prepared.masks).sum(1, keepdim=True)


def _unrankable(values: Tensor, visible: Tensor) -> Tensor:
    """(P,) bool: true where the visible values (P, n) are all equal, not all finite, or none."""
    low, high = (torch.where(visible, values, end) for end in (torch.inf, -torch.inf))
    none = values.new_full((len(values), 1), torch.inf)  # so that amin and amax are defined without any part
    equal = torch.cat([low, none], 1).amin(1) >= torch.cat([high, -none], 1).amax(1)
    return equal | ~torch.where(visible, values, 0.0).isfinite().all(1)
