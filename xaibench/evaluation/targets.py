"""Which (image, class) pairs a protocol explains: the label, the prediction, every labelled or predicted class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.datasets.base import Sample
from xaibench.evaluation.plan import ProtocolRun

PREDICTED = 0.5  # the least probability that predicts a class, where classes do not exclude each other


@dataclass(frozen=True)
class TargetBatch:
    """What protocols ask about a batch: evidence about their pairs, evidence about every pair that any protocol asks
    about, and where in the latter theirs are (P,). compared is theirs with that of the second model, if there is one.
    """

    evidence: Evidence
    every: Evidence
    index: Tensor
    compared: Evidence


def pairs(target: str, e: Evidence, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """Classes (P,) and image numbers (P,), both int64, in the order of the images; an image may have no pair.

    e is evidence about the images of the samples; target is one of `xaibench.protocols.base.TARGETS`.
    """
    if target == "label":
        found = [[sample.label] for sample in samples]
    elif target == "labels":
        found = [list(e.annotations[number].labels) for number in range(len(samples))]
    elif target == "predictions" and e.probability == "sigmoid":
        found = [row.nonzero()[:, 0].tolist() for row in e.logits().sigmoid() >= PREDICTED]
    else:
        found = e.logits().argmax(1, keepdim=True).tolist()
    classes = torch.tensor([label for labels in found for label in labels], dtype=torch.long)
    owners = torch.tensor([number for number, labels in enumerate(found) for _ in labels], dtype=torch.long)
    return classes, owners


def merged(several: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Lists of pairs (classes, image numbers) as one without copies, in the order of the images, and where in it each
    list's pairs are: so a pair that many protocols ask about is explained once.

    >>> merged([(torch.tensor([7, 3]), torch.tensor([0, 1])), (torch.tensor([3, 5]), torch.tensor([1, 1]))])
    (tensor([7, 3, 5]), tensor([0, 1, 1]), [tensor([0, 1]), tensor([1, 2])])
    """
    listed = [list(zip(owners.tolist(), classes.tolist(), strict=True)) for classes, owners in several]
    every = sorted(dict.fromkeys(pair for found in listed for pair in found), key=lambda pair: pair[0])
    place = {pair: number for number, pair in enumerate(every)}
    index = [torch.tensor([place[pair] for pair in found], dtype=torch.long) for found in listed]
    owners, classes = (torch.tensor([pair[part] for pair in every], dtype=torch.long) for part in (0, 1))
    return classes, owners, index


def collect_targets(
    judges: Sequence[ProtocolRun], base: Evidence, second: Evidence | None, samples: Sequence[Sample]
) -> dict[tuple[str, str], TargetBatch]:
    """What judges ask about a batch, by target and output; a pair that several ask about is explained once."""
    wishes = dict.fromkeys((j.protocol.target, j.protocol.attribution_output) for j in judges)
    found: dict[tuple[str, str], TargetBatch] = {}
    for output in dict.fromkeys(output for _, output in wishes):
        targets = [target for target, wish in wishes if wish == output]
        several = [pairs(target, base, samples) for target in targets]
        classes, owners, index = merged(several)
        every = base.explaining(classes, owners, output)
        for target, part, places in zip(targets, several, index, strict=True):
            same = torch.equal(places, torch.arange(len(classes)))
            own = every if same else base.explaining(*part, output=output)
            compared = own.with_reference(second.explaining(*part, output=output)) if second else own
            found[target, output] = TargetBatch(own, every, places.to(every.images.device), compared)
    return found


def unit(target: str) -> str:
    """What a row of this target is about: an image, or a class in it."""
    return "class" if target in ("labels", "predictions") else "image"
