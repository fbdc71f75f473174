"""Box-IoU: how well does a binarised map cover the boxes of a class? Rao et al., ICCV 2023."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Scores, status_of
from xaibench.protocols.masks import Localisation, between, class_boxes, positive_part

CANDIDATES = tuple(round(0.05 * step, 2) for step in range(20))


def scaled(maps: Tensor) -> Tensor:
    """(P, H, W) float64 in [0, 1]: the positive part of maps (P, 1, H, W), then min-max.

    A positive constant becomes 1 everywhere. NaN where the map has no positive value or is not finite.
    """
    positive = positive_part(maps)
    low, high = positive.amin((1, 2), keepdim=True), positive.amax((1, 2), keepdim=True)
    constant = torch.where(high > 0, 1.0, torch.nan).expand_as(positive)
    return torch.where(low == high, constant, (positive - low) / (high - low))


def box_iou(maps: Tensor, masks: Tensor, threshold: float = 0.5) -> Tensor:
    """IoU (P,) float64 in [0, 1], higher is better, of the pixels whose scaled value exceeds the threshold with masks.

    maps (P, 1, H, W), masks (P, H, W) bool. NaN where the map cannot be scaled or the mask is empty.
    """
    return _iou(scaled(maps), masks, threshold)


def _iou(values: Tensor, masks: Tensor, threshold: float) -> Tensor:
    high = values > threshold
    iou = (high & masks).sum((1, 2)).double() / (high | masks).sum((1, 2))
    return torch.where(values[:, 0, 0].isnan() | ~masks.flatten(1).any(1), torch.nan, iou)


def best_threshold(maps: Tensor, masks: Tensor, candidates: Sequence[float] = CANDIDATES) -> float:
    """The candidate with the highest mean IoU over the pairs where it is defined, the lowest of equals.

    maps (P, 1, H, W) and masks (P, H, W) bool of held-out images. Raises XaibenchError where no pair is defined.
    """
    return _best([masks], [maps], candidates)


def _best(masks: Sequence[Tensor], maps: Sequence[Tensor], candidates: Sequence[float]) -> float:
    """`best_threshold` over batches: whether a pair is defined does not depend on the threshold, so sums suffice."""
    ordered, pairs = sorted(candidates), 0
    totals = torch.zeros(len(ordered), dtype=torch.float64)
    for batch_masks, batch_maps in zip(masks, maps, strict=True):
        values = scaled(batch_maps)
        scores = torch.stack([_iou(values, batch_masks, threshold) for threshold in ordered]).cpu()
        totals += scores.nansum(1)
        pairs += int((~scores[0].isnan()).sum()) if ordered else 0
    if not pairs:
        raise XaibenchError("no held-out map with a box to choose a threshold on")
    return float(ordered[int(totals.argmax())])


@dataclass(frozen=True)
class BoxIoU(Localisation):
    """IoU of the binarised map with the union of the class's boxes.

    Settings: those of `Localisation`, and the threshold of the scaled map, which `fit` chooses on held-out images.
    """

    needs: ClassVar[tuple[str, ...]] = ("boxes",)
    has_oracle: ClassVar[bool] = True
    threshold: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        between("threshold", self.threshold, 0, 0.999)

    @property
    def words(self) -> str:
        """Such as `labels, logit, threshold 0.5`."""
        return f"{super().words}, threshold {self.threshold:g}"

    def fit(self, prepared: Sequence[Tensor], maps: Sequence[Tensor]) -> BoxIoU:
        """This protocol with the best of the `CANDIDATES` for the maps of one method, batches of held-out images.

        prepared as `prepare` gives it, maps (P, 1, H, W), one of each for a batch.
        """
        return replace(self, threshold=_best(prepared, maps, CANDIDATES))

    def prepare(self, e: Evidence) -> Tensor:
        """The union of boxes (P, H, W) bool."""
        return class_boxes(e, self.every)

    def score(self, prepared: Tensor, maps: Tensor) -> Scores:
        """IoU per pair; undefined without a positive value, or without a box."""
        bad_map = scaled(maps)[:, 0, 0].isnan()
        return status_of(box_iou(maps, prepared, self.threshold), bad_map, ~prepared.flatten(1).any(1))

    def oracle(self, prepared: Tensor, size: tuple[int, int]) -> Tensor:
        """The boxes themselves."""
        return prepared[:, None].double()
