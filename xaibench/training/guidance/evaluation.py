"""How well a guided model classifies, and where its attributions lie: the same measure for every loss and model.

One fixed order: attributions are summed over channels, resized bilinearly to the image, then negative values become 0.
EPG and IoU are those of the protocols `epg` and `box-iou`, over every ground-truth class of every image, and a map
without a positive value counts as 0, as it does there. The published code clamps before or after it resizes, from model
to model, which changes EPG.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from xaibench.attribution.stages import INPUT
from xaibench.datasets.base import Dataset, Sample
from xaibench.datasets.loading import load_groups
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding, Model
from xaibench.models.outputs import is_right
from xaibench.training.guidance.attributions import guided_maps
from xaibench.training.guidance.groups import group_metrics
from xaibench.training.guidance.stage_metrics import StageMetrics
from xaibench.training.guidance.targets import class_boxes, class_mask
from xaibench.training.metrics import f1, mean_average_precision
from xaibench.training.processes import own_part, parts_of_all

HELD_OUT = 32
"""Validation images that choose the threshold of IoU, where that is not more than a quarter of them."""


@dataclass(frozen=True)
class RegionBatch:
    """A batch of images and every pair of an image and one of its classes that has a region.

    inputs (B, C, H, W); labels (B,) int64; several (B, K) float multi-hot; groups: a name per image; owner (P,) int64:
    the image of each pair; targets (P,) int64; regions (P, H, W) bool.
    """

    inputs: Tensor
    labels: Tensor
    several: Tensor
    groups: list[str]
    owner: Tensor
    targets: Tensor
    regions: Tensor


@dataclass(frozen=True)
class EvaluationBatches:
    """How images are loaded: size: of a batch. workers: processes that load. images: the first so many of the data
    set's order, None for all. shared: whether processes that train together share the batches, which all of them then
    evaluate at the same time."""

    size: int
    workers: int = 0
    images: int | None = None
    shared: bool = False


class Evaluation:
    """Evaluates a model on a data set, any number of times: `evaluation(thresholds)` gives metrics by name.

    Metrics, all in [0, 1]: `accuracy`, with `worst_group` and `accuracy_NAME` of groups where images have them, or `f1`
    and `map` where a recipe learns several labels an image; `epg`, `iou` and `threshold` at the stage that is guided;
    and `input_epg`, ... at Input, for guidance at depth. Regions are the boxes of a class, or its mask where an image
    has no boxes. IoU needs a threshold for each stage: it is chosen on the first HELD_OUT images of the data set's
    order, and IoU is then the mean over the others; thresholds that are given are taken as they are, for test images.

    Raises XaibenchError for a data set without boxes and masks.
    """

    def __init__(
        self, model: Model, dataset: Dataset, attribution: str, stage: str, *, several: bool, batches: EvaluationBatches
    ):
        if not dataset.knows & {"boxes", "masks", "instances"}:
            raise XaibenchError(
                f"data set {dataset.name} has neither boxes nor masks, which the evaluation of guidance needs"
            )
        self.model, self.dataset, self.attribution, self.several = model, dataset, attribution, several
        self.stages = measured_stages(attribution, stage)
        self.batch_size = batch_size = batches.size
        ids = dataset.image_list(batches.images)
        self.held = max(1, min(HELD_OUT, len(ids) // 4))
        cut = [(at, min(at + batch_size, self.held)) for at in range(0, self.held, batch_size)]
        self._first, self._shared = len(cut), batches.shared  # each process chooses the threshold
        rest = [(at, at + batch_size) for at in range(self.held, len(ids), batch_size)]
        cut += own_part(rest) if batches.shared else rest
        collate = partial(_region_batch, dataset, model.encoding)
        self._loader = load_groups(dataset, [ids[a:b] for a, b in cut], batches.workers, collate)
        self._drawn: list[RegionBatch] | None = None if dataset.on_disk else []

    def __call__(self, thresholds: dict[str, float] | None = None) -> dict[str, float]:
        """The metrics of the model as it is; it is left in evaluation mode. thresholds: by stage."""
        net, device = self.model.net.eval(), next(self.model.net.parameters()).device
        found = {stage: StageMetrics((thresholds or {}).get(stage)) for stage in self.stages}
        measured: list[_Measured] = []
        for number, batch in enumerate(self._batches()):
            with torch.no_grad():
                logits = net(batch.inputs.to(device)).float().cpu()
            values = {stage: ([], []) for stage in self.stages}
            for part in torch.arange(len(batch.owner)).split(self.batch_size):
                inputs, targets = batch.inputs[batch.owner[part]].to(device), batch.targets[part].to(device)
                for stage in self.stages:
                    maps = self._maps(inputs, targets, stage)
                    epg, iou = found[stage].measure(maps, batch.regions[part], number < self._first)
                    values[stage][0].append(epg)
                    values[stage][1].extend(iou)
            measured.append((logits, batch.labels, batch.several, batch.groups, values))
        if self._shared:
            measured = measured[: self._first] + parts_of_all(measured[self._first :])
        logits, labels, several, groups, values = zip(*measured, strict=True)
        outputs, truth = torch.cat(logits), torch.cat(several)
        if self.several:
            metrics = {"f1": f1(outputs, truth), "map": mean_average_precision(outputs, truth)[0]}
        else:
            metrics = group_metrics(
                is_right(outputs, torch.cat(labels)).tolist(), [name for part in groups for name in part]
            )
        for stage in self.stages:
            prefix = "" if stage == self.stages[0] else f"{stage.lower()}_"
            epg, iou = ([value for part in values for value in part[stage][place]] for place in (0, 1))
            metrics |= {prefix + name: value for name, value in found[stage].metrics(epg, iou).items()}
        return metrics

    def _maps(self, inputs: Tensor, targets: Tensor, stage: str) -> Tensor:
        """Maps (P, 1, H, W) on the CPU, before negative values become 0."""
        size = tuple(inputs.shape[2:])
        maps, _ = guided_maps(self.model, inputs, targets, self.attribution, stage, size, graph=False)
        return maps.detach()[:, None].float().cpu()

    def _batches(self) -> Iterator[RegionBatch]:
        if self._drawn:
            yield from self._drawn
            return
        kept = []
        for batch in self._loader:
            kept += [batch] if self._drawn is not None else []
            yield batch
        self._drawn = kept if self._drawn is not None else None


def measured_stages(attribution: str, stage: str) -> tuple[str, ...]:
    """The stage that is guided, and Input beside it; class activation maps are not taken at Input."""
    return (stage,) if stage == INPUT or attribution == "grad-cam" else (stage, INPUT)


_Measured = tuple[Tensor, Tensor, Tensor, list[str], dict[str, tuple[list[Tensor], list[Tensor]]]]
"""Of a batch: logits, labels, multi-hot labels, groups, and for each stage EPG and IoU of parts of its pairs."""


def _region_batch(dataset: Dataset, encoding: Encoding, samples: Sequence[Sample]) -> RegionBatch:
    """Samples and their regions; a function of the module, which can be sent to loading processes."""
    size = samples[0].image.shape[:2]
    several = torch.zeros(len(samples), len(dataset.classes))
    owner, targets, regions = [], [], []
    for number, sample in enumerate(samples):
        annotation = dataset.annotate(sample.image_id)
        several[number, list(annotation.labels)] = 1
        for label in annotation.labels:
            region = class_boxes(annotation, label)
            region = class_mask(annotation, label) if region is None else region
            if region is not None:
                owner, targets, regions = [*owner, number], [*targets, label], [*regions, region]
    stacked = torch.from_numpy(np.stack(regions)) if regions else torch.zeros(0, *size, dtype=torch.bool)
    return RegionBatch(
        encoding(np.stack([s.image for s in samples])), torch.tensor([s.label for s in samples]),
        several, [dataset.group(s.image_id) for s in samples],
        torch.tensor(owner, dtype=torch.int64), torch.tensor(targets, dtype=torch.int64), stacked,
    )  # fmt: skip
