"""The rows of one part of a protocol on a network: its ladders, the attacks on it, or its scores of methods."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import product
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
from xaibench.judging.ladder import DOSES, KINDS
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
    ladders = {of: bench.ladders(of) for of in TRUTHS}  # before passes count
    rows: list[Row] = []
    with bench.evidence() as e:
        score, once = Scorer(card, protocol, e), _Once(len(e.image_ids))
        meter = [(0, time.perf_counter())]
        score.prepare()
        meter.append((e.runner.forward_equivalents, time.perf_counter()))
        places = []
        for of, kind in product(TRUTHS, KINDS):
            for image, (image_id, found) in enumerate(zip(e.image_ids, ladders[of][kind], strict=True)):
                if isinstance(found, str):
                    rows.append(_row("ladder", of, kind, 0.0, image_id, np.nan, found))
                else:
                    places += [
                        (of, kind, dose, image, once.add(image, each)) for dose, each in zip(DOSES, found, strict=True)
                    ]
        results = [score(maps) for maps in once.batches()]
        for of, kind, dose, image, number in places:
            found = results[number]
            rows.append(_row("ladder", of, kind, dose, e.image_ids[image], found.quality[image], found.status[image]))
        meter.append((e.runner.forward_equivalents, time.perf_counter()))
    (passes, began), (shared, prepared), (all_passes, ended) = meter
    images, calls = len(bench.image_ids), max(1, len(results))
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
            rows += _rows("attack", name, second.image_ids, score(each))
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
    return [row for name, each in maps.items() for row in _rows(what, name, e.image_ids, score(each))]


class _Once:
    """The different maps of each image, so that each is scored once: truths and ladders have many in common."""

    def __init__(self, images: int):
        self._numbers: list[dict[str, int]] = [{} for _ in range(images)]
        self._maps: list[list[Tensor]] = [[] for _ in range(images)]

    def add(self, image: int, map_: Tensor) -> int:
        """The number of the batch in which a map (H, W) of an image is scored."""
        numbers = self._numbers[image]
        number = numbers.setdefault(content_hash(map_.numpy().tobytes()), len(numbers))
        if number == len(self._maps[image]):
            self._maps[image].append(map_)
        return number

    def batches(self) -> Iterator[Tensor]:
        """Maps (images, 1, H, W); an image that has no more of them has its last one again, or zeros."""
        some = next((maps[0] for maps in self._maps if maps), None)
        for number in range(max(map(len, self._maps), default=0)):
            each = [maps[min(number, len(maps) - 1)] if maps else torch.zeros_like(some) for maps in self._maps]
            yield torch.stack(each)[:, None]


def _rows(what: str, name: str, ids: Sequence[str], found: Asked) -> list[Row]:
    each = zip(ids, found.quality.tolist(), found.status, strict=True)
    return [_row(what, "", name, 0.0, image_id, value, status) for image_id, value, status in each]


def _row(what: str, of: str, name: str, dose: float, image_id: str, quality: float, status: str) -> Row:
    value = quality if np.isfinite(quality) else None
    return {"what": what, "truth": of, "name": name, "dose": dose, "image_id": image_id, "quality": value,
            "status": status}  # fmt: skip
