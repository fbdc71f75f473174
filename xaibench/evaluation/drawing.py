"""The maps of a batch: those that are kept are read, others made once for all protocols."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.attribution.methods import method_maps
from xaibench.evaluation.plan import Job
from xaibench.evaluation.plugin_errors import left_as_it_is, raised_by_method
from xaibench.evaluation.targets import TargetBatch
from xaibench.results.maps import MapIndex, map_name


@dataclass(frozen=True)
class MadeMaps:
    """Maps (P, 1, H, W) that were made for pairs of a batch: their map key, and image id, class and digest of the image
    of each pair."""

    key: str
    image_ids: list[str]
    targets: Tensor
    maps: Tensor
    digests: list[str]


@dataclass
class BatchMaps:
    """The maps of one batch.

    digests: that of each image, by id. kept: the maps that the results folder has; None to make all. collect: whether
    `made` is to hold what was made, so that it can be kept.
    """

    digests: Mapping[str, str] = field(default_factory=dict)
    kept: MapIndex | None = None
    collect: bool = False
    made: list[MadeMaps] = field(default_factory=list)
    _drawn: dict[tuple[str, int], Tensor] = field(default_factory=dict)  # by map key and evidence
    _parts: dict[tuple[int, tuple[int, ...]], Evidence] = field(default_factory=dict)

    def begin(self) -> None:
        """Forgets the maps of a method, before those of the next."""
        self._drawn.clear()

    def has(self, job: Job, targets: TargetBatch) -> bool:
        """Whether a job's method has been drawn for the pairs of all protocols."""
        return (job.maps, id(targets.every)) in self._drawn

    def draw(self, job: Job, targets: TargetBatch, prepared: Any) -> Tensor | None:
        """The maps (P, 1, H, W) of a job, in the case of an oracle by its protocol; None where nothing is explained.

        Raises MethodRaised for what the method raises, XaibenchError where an image has changed since its maps were
        kept.
        """
        if not len(targets):
            return None
        if job.method.card.role == "oracle":
            with raised_by_method():
                maps = job.protocol.protocol.oracle(prepared, tuple(targets.evidence.images.shape[-2:]))
            self._add(job.maps, targets.evidence, maps)
            return maps
        if not self.has(job, targets):
            self._drawn[job.maps, id(targets.every)] = self._every(job, targets.every)
        return self._drawn[job.maps, id(targets.every)][targets.index]

    def _every(self, job: Job, e: Evidence) -> Tensor:
        """The maps of all pairs that are explained: only those are made that are not kept."""
        names = [map_name(*pair) for pair in zip(e.pair_ids, e.targets.tolist(), strict=True)]
        images = {name: self.digests[i] for name, i in zip(names, e.pair_ids, strict=True)} if self.kept else {}
        found, size = self.kept.load(job.maps, images) if self.kept else {}, e.images.shape[-2:]
        kept = {name: values for name, values in found.items() if values.shape == size and values.is_floating_point()}
        lacking = [number for number, name in enumerate(names) if name not in kept]
        if not lacking:
            return torch.stack([kept[name] for name in names])[:, None].to(e.images.device)
        part = e if len(lacking) == len(names) else self._part(e, tuple(lacking))
        made = _made(job, part)
        self._add(job.maps, part, made)
        if part is e:
            return made
        maps = made.new_empty(len(names), *made.shape[1:])
        maps[lacking] = made
        for number, name in enumerate(names):
            if name in kept:
                maps[number, 0] = kept[name].to(maps)
        return maps

    def _part(self, e: Evidence, numbers: tuple[int, ...]) -> Evidence:
        """Evidence about some of the pairs, the same for all methods, so that they share what it computes."""
        if (id(e), numbers) not in self._parts:
            index = torch.tensor(numbers)
            pairs = e.targets[index.to(e.targets.device)], e.owner[index.to(e.owner.device)]
            self._parts[id(e), numbers] = e.explaining(*pairs, output=e.output)
        return self._parts[id(e), numbers]

    def _add(self, key: str, e: Evidence, maps: Tensor) -> None:
        if self.collect:
            digests = [self.digests[image_id] for image_id in e.pair_ids]
            self.made.append(MadeMaps(key, e.pair_ids, e.targets, maps, digests))


def _made(job: Job, e: Evidence) -> Tensor:
    """The maps (P, 1, H, W) that a job's method makes, in memory as kept ones are; evidence must stay as it is."""
    card, ledger = job.method.card, e.runner.ledger
    with raised_by_method(), left_as_it_is(e, card.name) if card.source else nullcontext():
        counted = (
            ledger.drawing(job.cell.method_name, len(set(e.pair_ids)), len(e.targets)) if ledger else nullcontext()
        )
        with counted:
            return method_maps(card, e, job.method.parameters).contiguous()
