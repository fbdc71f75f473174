"""ObEy: does an attribution look like any object of the image, right or wrong? Schulze, Ho, Zemel 2023."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.datasets.base import Annotation
from xaibench.errors import XaibenchError
from xaibench.protocols.base import TARGETS, Scores, status_of
from xaibench.protocols.masks import Localisation, annotation_of, image_size, positive_part
from xaibench.protocols.settings import check_choices

NORMALISATIONS = ("raw", "raw-clamped", "max-normalised")


def intensities(maps: Tensor, normalisation: str = "raw") -> Tensor:
    """The positive part of maps: as it is, limited to 1, or divided by its maximum.

    Args:
        maps: (P, 1, H, W), any floating dtype.
        normalisation: "raw", "raw-clamped" or "max-normalised".

    Returns:
        (P, H, W) float64, not negative. NaN where not finite; a map without positive values stays 0, or becomes NaN
        when it is divided by its maximum.

    Examples:
        >>> import torch
        >>> from xaibench.functional import intensities
        >>> maps = torch.tensor([[[[4.0, 1.0, -1.0]]]])
        >>> [intensities(maps, name).flatten().tolist() for name in ("raw", "raw-clamped", "max-normalised")]
        [[4.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.25, 0.0]]
    """
    positive = positive_part(maps)
    if normalisation == "raw-clamped":
        return positive.clamp(max=1)
    return positive / positive.amax((1, 2), keepdim=True) if normalisation == "max-normalised" else positive


def weighted_iou(p: Tensor, masks: Tensor) -> Tensor:
    """The weighted intersection over union of a map p with each mask q: sum(p q) / sum(max(p, q)).

    As the scale of p grows it tends to the mask's share of p, as it shrinks to the mean of p in the mask.

    Args:
        p: (H, W) float64, not negative. The paper asks for p in [0, 1]; above 1 the score still lies in [0, 1].
        masks: (M, H, W) bool.

    Returns:
        (M,) float64 in [0, 1], higher is better; NaN where p and the mask are both empty.

    Examples:
        >>> import torch
        >>> from xaibench.functional import weighted_iou
        >>> p = torch.tensor([[1.0, 0.5], [0.5, 0.0]], dtype=torch.float64)
        >>> weighted_iou(p, torch.tensor([[[True, False], [False, False]], [[True, True], [True, True]]])).tolist()
        [0.5, 0.5]

    Source: Schulze, Ho, Zemel, ObEy: Quantifiable Object-based Explainability without Ground-Truth Annotations, NeurIPS
    workshop XAIA 2023, equation 1.
    """
    q, p = masks.flatten(1).double(), p.flatten()
    inside = q @ p
    return inside / (q @ p.clamp(min=1) + p.sum() - inside)


@dataclass(frozen=True)
class Objects:
    """Masks (M, H, W) bool of each image, none of them empty; the image of each pair; predicted (P,) bool: the
    pairs that have a score."""

    masks: list[Tensor]
    owner: list[int]
    predicted: Tensor


@dataclass(frozen=True)
class ObjectEvidence(Localisation):
    """The best wIoU of a map with any object of the image.

    Settings: target (predictions, prediction, labels, label) and whether its logit or its probability is explained;
    level of the objects, by the data set's name (critters: creatures, parts, distractors) or all; normalisation of
    maps, raw, raw-clamped (to [0, 1]) or max-normalised. Further metrics: `iou`, the best IoU of the map's support, and
    `intensity`, the mean of the normalised map, with which raw scores rise and fall.
    """

    targets: ClassVar[tuple[str, ...]] = TARGETS
    needs: ClassVar[tuple[str, ...]] = ("objects",)
    has_oracle: ClassVar[bool] = True
    target: str = "predictions"
    level: str = "all"
    normalisation: str = "raw"

    def __post_init__(self):
        super().__post_init__()
        check_choices(self, normalisation=NORMALISATIONS)

    @property
    def description(self) -> str:
        """Such as `predictions against all objects, logit, raw maps`."""
        objects = "objects" if self.level == "all" else self.level
        return f"{self.target} against all {objects}, {self.attribution_output}, {self.normalisation} maps"

    def prepare(self, e: Evidence) -> Objects:
        """The objects of every image, and which pairs are predictions."""
        size, device = image_size(e), e.images.device
        masks = [_objects(annotation_of(e, i), self.level, size).to(device) for i in range(len(e.images))]
        predicted = e.targets >= 0
        if self.target == "predictions" and e.probability == "sigmoid":
            logits = e.logits()[e.owner].gather(1, e.targets.clamp(min=0)[:, None])[:, 0]
            predicted = predicted & (logits >= 0)
        return Objects(masks, e.owner.tolist(), predicted)

    def score(self, prepared: Objects, maps: Tensor) -> Scores:
        """The best object's wIoU per pair; undefined without a positive value, and without an object or prediction."""
        p, nothing = intensities(maps, self.normalisation), torch.zeros(1, dtype=torch.float64, device=maps.device)
        best = {"wiou": [], "iou": []}
        for pair, image in enumerate(prepared.owner):
            masks = prepared.masks[image].to(maps.device)
            for name, values in (("wiou", p[pair]), ("iou", (p[pair] > 0).double())):
                best[name].append(torch.cat([weighted_iou(values, masks), nothing]).amax())
        bad_map = ~(positive_part(maps).amax((1, 2)) > 0)
        objects = torch.tensor([len(prepared.masks[image]) > 0 for image in prepared.owner], device=maps.device)
        bad_reference = ~(objects & prepared.predicted.to(maps.device))
        also = {
            "iou": status_of(torch.stack(best["iou"]), bad_map, bad_reference),
            "intensity": status_of(p.mean((1, 2)), bad_map, bad_reference),
        }
        scores = status_of(torch.stack(best["wiou"]), bad_map, bad_reference)
        return Scores(scores.values, scores.status, also)

    def oracle(self, prepared: Objects, size: tuple[int, int]) -> Tensor:
        """The first object of each image: any object scores 1."""
        empty = torch.zeros(1, *size, device=prepared.predicted.device)
        first = [prepared.masks[image][:1] if len(prepared.masks[image]) else empty for image in prepared.owner]
        return torch.stack(first).double()


def _objects(annotation: Annotation, level: str, size: tuple[int, int]) -> Tensor:
    """(M, H, W) bool: the masks of a level that have a pixel; raises XaibenchError for a level that is not there."""
    levels = annotation.objects
    if level != "all" and level not in levels:
        raise XaibenchError(f"level is all or one of the data set's ({', '.join(levels)}), not {level!r}")
    chosen = [masks for name, masks in levels.items() if level in ("all", name)]
    masks = torch.from_numpy(np.concatenate([np.zeros((0, *size), dtype=bool), *chosen]))
    return masks[masks.flatten(1).any(1)]
