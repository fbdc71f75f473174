"""The rows of one part of a protocol on a network: its ladders, the attacks on it, or its scores of methods."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from xaibench import registry
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.methods import merge_parameters, method_maps
from xaibench.cards import ProtocolCard
from xaibench.errors import XaibenchError
from xaibench.hashing import content_hash
from xaibench.judging.attacks import FIXED, SEARCHED, basis, combined, search
from xaibench.judging.config import METHODS, TRUTHS
from xaibench.judging.ladder import DOSES, KINDS, ladder
from xaibench.judging.scoring import Asked, Scorer, evidence_about, perturbed
from xaibench.judging.stability import other_settings
from xaibench.judging.truths import truth
from xaibench.protocols.api import make_protocol
from xaibench.protocols.base import Protocol

if TYPE_CHECKING:
    from xaibench.judging.known import Known

NO_TRUTH, NO_ORDER = "no-truth", "no-order"
SMALL, DISRUPTIVE = 0.01, 1.0  # standard deviations of the noise of MetaQuantus, of encoded pixels
Row = dict[str, Any]


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
        maps = ladder(found.map, kind, self.seed, image_id)
        return NO_ORDER if maps is None else maps

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


def images_of(known: Known, count: int) -> list[str]:
    """The first `count` images of a network's list on which it uses something: not all Shapley values are 0.

    Raises XaibenchError where the list has fewer.
    """
    found: list[str] = []
    for image_id in known.dataset.image_list():
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


def ladder_rows(bench: Bench, card: ProtocolCard, protocol: Protocol) -> tuple[list[Row], dict[str, float]]:
    """Qualities of every truth, kind of degradation, dose and image, and what they cost for an image.

    Maps that are equal are scored once. Cost: forward passes that a map takes (`passes`) and those that all maps share
    (`shared_passes`), and seconds alike.
    """
    rows: list[Row] = []
    with bench.evidence() as e:
        scorer = Scorer(card, protocol, e)
        meter = [(0, time.perf_counter())]
        scorer.prepare()
        meter.append((e.runner.forward_equivalents, time.perf_counter()))
        score = _Once(scorer)
        for kind_of_truth in TRUTHS:
            for kind, found in bench.ladders(kind_of_truth).items():
                fits = np.array([not isinstance(each, str) for each in found])
                reasons = {i: each for i, each in zip(e.image_ids, found, strict=True) if isinstance(each, str)}
                rows += [_row("ladder", kind_of_truth, kind, 0.0, i, np.nan, reason) for i, reason in reasons.items()]
                for number, dose in enumerate(DOSES):
                    if fits.any():
                        blank = torch.zeros(e.images.shape[2:], dtype=torch.float64)
                        maps = torch.stack([blank if isinstance(each, str) else each[number] for each in found])
                        rows += _rows("ladder", kind_of_truth, kind, dose, e.image_ids, score(maps[:, None]), fits)
        meter.append((e.runner.forward_equivalents, time.perf_counter()))
        images, calls = len(e.image_ids), max(1, score.calls)
    (passes, began), (shared, prepared), (all_passes, ended) = meter
    return rows, {
        "shared_passes": (shared - passes) / images, "passes": (all_passes - shared) / images / calls,
        "shared_seconds": (prepared - began) / images, "seconds": (ended - prepared) / images / calls,
    }  # fmt: skip


def attack_rows(bench: Bench, card: ProtocolCard, protocol: Protocol) -> list[Row]:
    """Qualities of the attacks on the second half of the images; the searched one was found on the first."""
    half = len(bench.image_ids) // 2
    rows: list[Row] = []
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(bench.evidence(ids)) for ids in (bench.image_ids[:half], bench.image_ids[half:])
        )
        seen, unseen = basis(first), basis(second)
        score = Scorer(card, protocol, first)

        def quality(weights: Tensor) -> float:
            values = score(combined(weights, seen)).quality
            return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else np.nan

        weights = search(quality, len(seen), bench.seed, f"{card.name} {bench.known.name}")
        score = Scorer(card, protocol, second)
        maps = {name: attack(second) for name, attack in FIXED.items()} | {SEARCHED: combined(weights, unseen)}
        for name, each in maps.items():
            rows += _rows("attack", "", name, 0.0, second.image_ids, score(each))
    return rows


def method_rows(bench: Bench, card: ProtocolCard, protocol: Protocol, settings: Mapping[str, Any]) -> list[Row]:
    """Qualities of the methods: as asked, with another seed, baseline and grid, and under noise on the input."""
    rows: list[Row] = []
    with bench.evidence() as e, bench.evidence(seed=bench.seed + 1) as other:
        maps = bench.methods(e, "")
        rows += _of_methods("methods", card, protocol, e, maps)
        rows += _of_methods("seed", card, protocol, other, bench.methods(other, "seed"))
        for factor, changed in other_settings(card, settings).items():
            try:
                variant = make_protocol(card, {**settings, **changed})
                variant.check(tuple(e.images.shape[-2:]))
            except XaibenchError:  # the protocol has no such setting
                continue
            rows += _of_methods(factor, card, variant, e, maps)
        for name, noise in (("small-noise", SMALL), ("disruptive-noise", DISRUPTIVE)):
            changed = perturbed(e, noise, name)
            rows += _of_methods(name, card, protocol, changed, bench.methods(changed, name))
    return rows


def _of_methods(
    what: str, card: ProtocolCard, protocol: Protocol, e: Evidence, maps: Mapping[str, Tensor]
) -> list[Row]:
    score = Scorer(card, protocol, e)
    return [row for name, each in maps.items() for row in _rows(what, "", name, 0.0, e.image_ids, score(each))]


class _Once:
    """A scorer that scores each batch of maps once; two truths often give the same maps."""

    def __init__(self, score: Scorer):
        self._score, self._known = score, {}

    @property
    def calls(self) -> int:
        """How many batches of maps were scored."""
        return len(self._known)

    def __call__(self, maps: Tensor) -> Asked:
        key = content_hash(maps.numpy().tobytes())
        if key not in self._known:
            self._known[key] = self._score(maps)
        return self._known[key]


def _rows(
    what: str, of: str, name: str, dose: float, ids: Sequence[str], found: Asked, fits: np.ndarray | None = None
) -> list[Row]:
    fits = np.ones(len(ids), bool) if fits is None else fits
    each = zip(ids, found.quality.tolist(), found.status, fits, strict=True)
    return [_row(what, of, name, dose, image_id, value, status) for image_id, value, status, fit in each if fit]


def _row(what: str, of: str, name: str, dose: float, image_id: str, quality: float, status: str) -> Row:
    value = quality if np.isfinite(quality) else None
    return {"what": what, "truth": of, "name": name, "dose": dose, "image_id": image_id, "quality": value,
            "status": status}  # fmt: skip
