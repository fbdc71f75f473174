"""Which (image, class) pairs a protocol explains: the label, the prediction, every labelled or predicted class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.datasets.base import Sample

PREDICTED = 0.5  # the least probability that predicts a class, where classes do not exclude each other


def pairs(target: str, e: Evidence, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """Classes (P,) and image numbers (P,), both int64, in the order of the images; an image may have no pair.

    e is evidence about the images of the samples; target is one of `xaibench.protocols.base.TARGETS`.
    """
    if target == "label":
        found = [[sample.label] for sample in samples]
    elif target == "labels":
        found = [list(e.scenes.annotation(number).labels) for number in range(len(samples))]
    elif target == "predictions" and e.probability == "sigmoid":
        found = [row.nonzero()[:, 0].tolist() for row in e.logits().sigmoid() >= PREDICTED]
    else:
        found = e.logits().argmax(1, keepdim=True).tolist()
    classes = torch.tensor([label for labels in found for label in labels], dtype=torch.long)
    owners = torch.tensor([number for number, labels in enumerate(found) for _ in labels], dtype=torch.long)
    return classes, owners


def unit(target: str) -> str:
    """What a row of this target is about: an image, or a class in it."""
    return "class" if target in ("labels", "predictions") else "image"
