"""A known network with images, and the maps that are the same for all protocols: ladders and methods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from xaibench import registry
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.methods import merge_parameters, method_maps
from xaibench.errors import XaibenchError
from xaibench.hashing import content_hash
from xaibench.judging.config import METHODS, JudgeConfig
from xaibench.judging.known import Known, make
from xaibench.judging.ladder import KINDS, ladder
from xaibench.judging.scoring import evidence_about
from xaibench.judging.truths import truth

NO_TRUTH, NO_ORDER = "no-truth", "no-order"


@dataclass
class Bench:
    """One known network with images, and the maps that are the same for all protocols, made when they are needed.

    Maps are on the CPU, float64 for ladders.
    """

    known: Known
    image_ids: list[str]
    seed: int
    device: str = "cpu"
    _ladders: dict[str, dict[str, list[Tensor | str]]] = field(default_factory=dict)
    _methods: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def ladders(self, kind_of_truth: str) -> dict[str, list[Tensor | str]]:
        """For each kind of degradation the ladder (doses, H, W) of each image, or why there is none."""
        if kind_of_truth not in self._ladders:
            truths = [truth(self.known, image_id, kind_of_truth) for image_id in self.image_ids]
            self._ladders[kind_of_truth] = {
                kind: [self._ladder(each, kind, i) for i, each in zip(self.image_ids, truths, strict=True)]
                for kind in KINDS
            }
        return self._ladders[kind_of_truth]

    def _ladder(self, found: Any, kind: str, image_id: str) -> Tensor | str:
        if found.status != "ok":
            return NO_TRUTH
        # in units of its largest value, so that truths that differ in units alone have the same ladders
        maps = ladder((found.map / found.map.abs().max()).float(), kind, self.seed, image_id)
        return NO_ORDER if maps is None else maps

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a key says of the network and its images."""
        known, state = self.known, self.known.network.state_dict()
        weights = b"".join(name.encode() + state[name].detach().cpu().numpy().tobytes() for name in sorted(state))
        digests = "\n".join(f"{image_id} {known.dataset.digest(image_id)}" for image_id in self.image_ids)
        return {
            "name": known.name, "cam_layer": known.cam_layer, "weights": content_hash(weights),
            "images": content_hash(digests.encode()), "count": len(self.image_ids),
        }  # fmt: skip

    @cached_property
    def retrained(self) -> Bench | None:
        """See `retrained`."""
        return retrained(self)

    @contextmanager
    def evidence(self, image_ids: Sequence[str] | None = None, seed: int | None = None) -> Iterator[Evidence]:
        """Evidence about some of the images, all by default."""
        chosen = self.image_ids if image_ids is None else image_ids
        with evidence_about(self.known, chosen, self.seed if seed is None else seed, self.device) as e:
            yield e

    def methods(self, e: Evidence, name: str) -> dict[str, Tensor]:
        """Maps (images, 1, H, W) of the methods that explain this network, by name; e is about all images.

        name: of this evidence, under which they are kept.
        """
        if name not in self._methods:
            self._methods[name] = {method: maps for method in METHODS if (maps := _maps(e, method)) is not None}
        return self._methods[name]


def open_bench(name: str, config: JudgeConfig) -> Bench:
    """A network by its name with the images of a request."""
    known = make(name, config.seed)
    return Bench(known, images_of(known, config.count), config.seed, config.device)


def retrained(bench: Bench) -> Bench | None:
    """The same kind of network with weights and scenes of the next seed; None where its weights are always the same."""
    other = make(bench.known.name, bench.seed + 1)
    before, after = bench.known.network.state_dict(), other.network.state_dict()
    if before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before):
        return None
    return Bench(other, images_of(other, len(bench.image_ids)), bench.seed, bench.device)


def images_of(known: Known, count: int) -> list[str]:
    """The first `count` images of a network's list on which it uses something: not all Shapley values are 0.

    Raises XaibenchError where the list has fewer.
    """
    listed, found = known.dataset.image_list(), []
    if count > len(listed):  # known before minutes are spent
        raise XaibenchError(f"network {known.name} has {len(listed)} images; ask for no more, not for {count}")
    for image_id in listed:
        if len(found) == count:
            break
        if truth(known, image_id, "shapley").status == "ok":
            found.append(image_id)
    if len(found) < count:
        raise XaibenchError(f"network {known.name} has {len(found)} images on which it uses something; ask for fewer")
    return found


def _maps(e: Evidence, method: str) -> Tensor | None:
    card = registry.card("method", method)
    if "cam-layer" in card.needs and e.cam_layer is None:
        return None
    try:
        return method_maps(card, e, merge_parameters(card, METHODS[method])).detach()
    except XaibenchError:  # no gradient reaches the input
        return None
