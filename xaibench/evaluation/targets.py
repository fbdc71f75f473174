"""Which (image, class) pairs a protocol explains: the label, the prediction, every labelled or predicted class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.datasets.base import Sample
from xaibench.evaluation.plan import ProtocolRun
from xaibench.models.outputs import usable

PREDICTED = 0.5  # the least probability that predicts a class, where classes do not exclude each other


@dataclass(frozen=True)
class TargetBatch:
    """The (image, class) pairs of one kind of target in a batch.

    evidence: about these pairs. every: about every pair that any protocol explains, in which index (P,) says where
    these are. compared: evidence with that of the second model as `reference`, where there is one.
    """

    evidence: Evidence
    every: Evidence
    index: Tensor
    compared: Evidence

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.evidence.targets)


def pairs(target: str, e: Evidence, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """Classes (P,) and image numbers (P,), both int64, in the order of the images; an image may have no pair, and
    has none where the network's logits of it are not finite.

    e is evidence about the images of the samples; target is one of `xaibench.protocols.base.TARGETS`.
    """
    logits = e.logits()
    if target == "label":
        found = [[sample.label] for sample in samples]
    elif target == "labels":
        found = [list(e.annotations[number].labels) for number in range(len(samples))]
    elif target == "predictions" and e.probability == "sigmoid":
        found = [row.nonzero()[:, 0].tolist() for row in logits.sigmoid() >= PREDICTED]
    else:
        found = logits.argmax(1, keepdim=True).tolist()
    found = [labels if fine else [] for labels, fine in zip(found, usable(logits).tolist(), strict=True)]
    classes = torch.tensor([label for labels in found for label in labels], dtype=torch.long)
    owners = torch.tensor([number for number, labels in enumerate(found) for _ in labels], dtype=torch.long)
    return classes, owners


def merged(several: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Lists of pairs (classes, image numbers) as one without copies, in the order of the images, and where in it each
    list's pairs are: so a pair that many protocols share is explained once.

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
    protocols: Sequence[ProtocolRun], base: Evidence, reference: Evidence | None, samples: Sequence[Sample]
) -> dict[tuple[str, str], TargetBatch]:
    """The pairs that protocols explain in a batch, by target and output; one that several share is explained once.

    base is evidence about the images of the samples, reference that of the second model.
    """
    kinds = dict.fromkeys((run.protocol.target, run.protocol.attribution_output) for run in protocols)
    found: dict[tuple[str, str], TargetBatch] = {}
    for output in dict.fromkeys(output for _, output in kinds):
        targets = [target for target, other in kinds if other == output]
        several = [pairs(target, base, samples) for target in targets]
        classes, owners, index = merged(several)
        every = base.explaining(classes, owners, output)
        for target, part, places in zip(targets, several, index, strict=True):
            same = torch.equal(places, torch.arange(len(classes)))
            own = every if same else base.explaining(*part, output=output)
            compared = own.with_reference(reference.explaining(*part, output=output)) if reference else own
            found[target, output] = TargetBatch(own, every, places.to(every.images.device), compared)
    return found


def unit(target: str) -> str:
    """What a row of this target is about: an image, or a class in it."""
    return "class" if target in ("labels", "predictions") else "image"
