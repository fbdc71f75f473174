"""The rows of one part of a protocol on a network: its ladders, the attacks on it, or its scores of methods."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.cards import ProtocolCard
from xaibench.errors import XaibenchError
from xaibench.hashing import content_hash
from xaibench.judging.attacks import FIXED, SEARCHED, basis, combined, search
from xaibench.judging.bench import Bench
from xaibench.judging.config import TRUTHS
from xaibench.judging.ladder import DOSES
from xaibench.judging.scoring import Asked, Scorer, perturbed
from xaibench.judging.stability import other_settings
from xaibench.protocols.api import make_protocol
from xaibench.protocols.base import Protocol

SMALL, DISRUPTIVE = 0.01, 1.0  # standard deviations of the noise of MetaQuantus, of encoded pixels
Row = dict[str, Any]


def ladder_rows(bench: Bench, card: ProtocolCard, protocol: Protocol) -> tuple[list[Row], dict[str, float]]:
    """Qualities of every truth, kind of degradation, dose and image, and what they cost for an image.

    Maps that are equal are scored once. Cost: forward passes that a map takes (`passes`) and those that all maps share
    (`shared_passes`), and seconds alike.
    """
    rows: list[Row] = []
    found_ladders = {kind_of_truth: bench.ladders(kind_of_truth) for kind_of_truth in TRUTHS}  # before passes count
    with bench.evidence() as e:
        scorer = Scorer(card, protocol, e)
        meter = [(0, time.perf_counter())]
        scorer.prepare()
        meter.append((e.runner.forward_equivalents, time.perf_counter()))
        score = _Once(scorer)
        for kind_of_truth, ladders in found_ladders.items():
            for kind, found in ladders.items():
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
    """Qualities of the methods: as asked, with another seed, baseline, grid and training, and under noise on the
    input."""
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
    if (other := bench.retrained) is not None:
        with other.evidence() as e:
            rows += _of_methods("training", card, protocol, e, other.methods(e, ""))
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
