"""EPG and IoU of the maps at one stage of a model, over the pairs of an evaluation."""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench.errors import XaibenchError
from xaibench.protocols.energy_pointing import energy_share
from xaibench.protocols.localization.box_iou import best_threshold, box_iou


class StageMetrics:
    """EPG and IoU of the maps at one stage, a part at a time; held-out maps wait until their threshold is chosen."""

    def __init__(self, threshold: float | None):
        self.threshold, self._fit = threshold, threshold is None
        self._waiting: list[tuple[Tensor, Tensor]] = []

    def measure(self, maps: Tensor, regions: Tensor, held: bool) -> tuple[Tensor, list[Tensor]]:
        """EPG (P,) of maps (P, 1, H, W) with regions (P, H, W) bool, and IoU (P,), once its threshold is chosen.

        held: of images that choose it.
        """
        epg = energy_share(maps, regions).nan_to_num(0)
        if self._fit and held:
            self._waiting.append((maps, regions))
            return epg, []
        self._choose()
        return epg, [box_iou(maps, regions, self.threshold).nan_to_num(0)]

    def _choose(self) -> None:
        if self.threshold is not None:
            return
        if not self._waiting:
            raise XaibenchError("no held-out validation image has a region to choose the threshold of IoU on")
        maps, regions = (torch.cat(parts) for parts in zip(*self._waiting, strict=True))
        self.threshold, self._waiting = best_threshold(maps, regions), []

    def metrics(self, epg: list[Tensor], iou: list[Tensor]) -> dict[str, float]:
        """Means over pairs, and the threshold; raises XaibenchError where there was nothing to measure."""
        if not iou:
            raise XaibenchError("no image has a region of its class to measure EPG and IoU on")
        self._choose()  # a process may have had nothing but the images that choose it
        mean = {"epg": float(torch.cat(epg).mean()), "iou": float(torch.cat(iou).mean())}
        return mean | {"threshold": self.threshold}
