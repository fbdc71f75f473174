"""Box-IoU: how well does a map, cut at a threshold, cover the boxes of a class? Rao et al., ICCV 2023."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Scores, status_of
from xaibench.protocols.masks import Localisation, class_boxes, positive_part
from xaibench.protocols.settings import check_between, check_whole
from xaibench.surroundings import without_modes

FIT = "fit"
CANDIDATES = tuple(round(0.05 * step, 2) for step in range(20))


def scaled_positive_part(maps: Tensor) -> Tensor:
    """The positive part of maps, each scaled to [0, 1] by its own minimum and maximum.

    Args:
        maps: (P, 1, H, W), any floating dtype.

    Returns:
        (P, H, W) float64 in [0, 1]. A positive constant becomes 1 everywhere; NaN where the map has no positive value
        or is not finite.

    Examples:
        >>> import torch
        >>> from xaibench.functional import scaled_positive_part
        >>> scaled_positive_part(torch.tensor([[[[4.0, 2.0, -1.0]]]])).tolist()
        [[[1.0, 0.5, 0.0]]]
    """
    positive = positive_part(maps)
    low, high = positive.amin((1, 2), keepdim=True), positive.amax((1, 2), keepdim=True)
    constant = torch.where(high > 0, 1.0, torch.nan).expand_as(positive)
    return torch.where(low == high, constant, (positive - low) / (high - low))


def box_iou(maps: Tensor, masks: Tensor, threshold: float = 0.5) -> Tensor:
    """Intersection over union of a mask with the pixels whose scaled value exceeds the threshold.

    Args:
        maps: (P, 1, H, W), any floating dtype; scaled by `scaled_positive_part`.
        masks: (P, H, W) bool, such as the union of the boxes of a class.
        threshold: at least 0 and below 1.

    Returns:
        (P,) float64 in [0, 1], higher is better; NaN where the map cannot be scaled or the mask is empty.

    Examples:
        >>> import torch
        >>> from xaibench.functional import box_iou
        >>> maps = torch.tensor([[[[4.0, 3.0], [1.0, 0.0]]]])
        >>> box_iou(maps, torch.tensor([[[True, False], [False, False]]])).tolist()
        [0.5]

    Source: Rao, Böhle, Parchami-Araghi, Schiele, Studying How to Efficiently and Effectively Guide Models with
    Explanations, ICCV 2023.
    """
    return _iou(scaled_positive_part(maps), masks, threshold)


def _iou(values: Tensor, masks: Tensor, threshold: float) -> Tensor:
    high = values > threshold
    iou = (high & masks).sum((1, 2)).double() / (high | masks).sum((1, 2))
    return torch.where(values[:, 0, 0].isnan() | ~masks.flatten(1).any(1), torch.nan, iou)


@without_modes()
def best_threshold(maps: Tensor, masks: Tensor, candidates: Sequence[float] = CANDIDATES) -> float:
    """The threshold of `box_iou` with the highest mean over the pairs where it is defined; the lowest of equals.

    Args:
        maps: (P, 1, H, W), any floating dtype, of held-out images.
        masks: (P, H, W) bool.
        candidates: thresholds, each at least 0 and below 1; by default 0, 0.05, ..., 0.95.

    Returns:
        One of the candidates; the lowest where no map can be scaled.

    Raises:
        XaibenchError: no mask has a pixel.

    Examples:
        >>> import torch
        >>> from xaibench.functional import best_threshold
        >>> maps, masks = torch.tensor([[[[4.0, 3.0, 1.0, 0.0]]]]), torch.tensor([[[True, False, False, False]]])
        >>> best_threshold(maps, masks)
        0.75

    Source: Rao, Böhle, Parchami-Araghi, Schiele, ICCV 2023.
    """
    return _best([masks], [maps], candidates)


def _best(masks: Sequence[Tensor], maps: Sequence[Tensor], candidates: Sequence[float]) -> float:
    """`best_threshold` over batches: whether a pair is defined does not depend on the threshold, so sums suffice."""
    if not any(batch.any() for batch in masks):
        raise XaibenchError("no held-out image has a box to choose a threshold on")
    ordered = sorted(candidates)
    totals = torch.zeros(len(ordered), dtype=torch.float64)
    for batch_masks, batch_maps in zip(masks, maps, strict=True):
        values = scaled_positive_part(batch_maps)
        scores = torch.stack([_iou(values, batch_masks, threshold) for threshold in ordered]).cpu()
        totals += scores.nansum(1)
    return float(ordered[int(totals.argmax())])


@dataclass(frozen=True)
class BoxIoU(Localisation):
    """IoU of the thresholded map with the union of the class's boxes.

    Settings: those of `Localisation`, and the threshold of the scaled map: a number, or `fit`, which chooses the best
    of the `CANDIDATES` for each method on `held_out` images of the data set's validation part. The further metric
    `threshold` says which it was.
    """

    needs: ClassVar[tuple[str, ...]] = ("boxes",)
    has_oracle: ClassVar[bool] = True
    threshold: float | str = 0.5
    held_out: int = 32

    def __post_init__(self):
        super().__post_init__()
        if self.threshold != FIT:
            check_between("threshold", self.threshold, 0, 0.999)
        check_whole(self, held_out=1)

    @property
    def description(self) -> str:
        """Such as `labels, logit, threshold 0.5`."""
        if self.threshold == FIT:
            return f"{super().description}, threshold fitted on {self.held_out} held-out images"
        return f"{super().description}, threshold {self.threshold:g}"

    @property
    def held_out_images(self) -> int:
        """As many as `held_out` says, where the threshold is to be fitted."""
        return self.held_out if self.threshold == FIT else 0

    def fit(self, prepared: Sequence[Tensor], maps: Sequence[Tensor]) -> BoxIoU:
        """This protocol with the best of the `CANDIDATES` for the maps of one method; see `Protocol.fit`."""
        return replace(self, threshold=_best(prepared, maps, CANDIDATES))

    def fitted(self) -> dict[str, float]:
        """The threshold."""
        return {"threshold": self.threshold}

    def prepare(self, e: Evidence) -> Tensor:
        """The union of boxes (P, H, W) bool."""
        return class_boxes(e, self.every)

    def score(self, prepared: Tensor, maps: Tensor) -> Scores:
        """IoU per pair, and the threshold; undefined without a positive value, or without a box.

        Raises XaibenchError where the threshold has not been fitted yet.
        """
        if self.threshold == FIT:
            raise XaibenchError("threshold=fit is chosen on held-out images of a run; `fit` the protocol first")
        bad_map, no_box = scaled_positive_part(maps)[:, 0, 0].isnan(), ~prepared.flatten(1).any(1)
        scores = status_of(box_iou(maps, prepared, self.threshold), bad_map, no_box)
        fixed = torch.full_like(scores.values, self.threshold)
        return replace(scores, also={"threshold": status_of(fixed, torch.zeros_like(bad_map), no_box)})

    def oracle(self, prepared: Tensor, size: tuple[int, int]) -> Tensor:
        """The boxes themselves."""
        return prepared[:, None].double()
