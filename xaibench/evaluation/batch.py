"""Samples of a batch as evidence about their labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.attribution.runner import ModelRunner
from xaibench.datasets.base import Dataset, Sample
from xaibench.datasets.image_annotations import ImageAnnotations
from xaibench.models.base import Model


def batch_evidence(
    samples: Sequence[Sample], dataset: Dataset, model: Model, runner: ModelRunner, device: str, seed: int
) -> Evidence:
    """Evidence about the labels of samples of a data set, encoded as the model wants them, on the device."""
    dtype = next((p.dtype for p in model.net.parameters()), torch.float32)

    def encode(images: np.ndarray) -> Tensor:
        return model.encoding(images).to(device=device, dtype=dtype)

    return Evidence(
        runner,
        encode(np.stack([s.image for s in samples])),
        torch.tensor([s.label for s in samples]),
        [s.image_id for s in samples],
        view=model.view,
        seed=seed,
        annotations=ImageAnnotations(samples, dataset, encode),
    )
