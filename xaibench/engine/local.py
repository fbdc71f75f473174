"""The loop: batches of images become evidence, evidence becomes maps, maps become scores, scores become rows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from xaibench.attribution.evidence import Evidence
from xaibench.attribution.methods import method_maps
from xaibench.attribution.passes import Passes
from xaibench.datasets.base import Dataset, Sample
from xaibench.engine.plan import Judge, Plan
from xaibench.errors import XaibenchError
from xaibench.progress import Bar
from xaibench.protocols.base import OK, Scores
from xaibench.results.cells import Cell
from xaibench.results.maps import MapStore
from xaibench.results.schema import row_table
from xaibench.results.store import Store

FLUSH_SECONDS = 15.0

Cells = dict[tuple[int, int], Cell]


@dataclass
class Tally:
    """What the loop counts: computed images, statuses, methods that failed and why, passes."""

    images: int = 0
    undefined: dict[tuple[str, str], int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    forward_equivalents: int = 0


def evaluate(
    plan: Plan,
    cells: Cells,
    missing: dict[str, set[str]],
    store: Store,
    maps: MapStore | None,
    *,
    device: str,
    chunk: int,
    batch: int,
    workers: int,
    seed: int,
    precision: str,
    progress: Bar,
) -> Tally:
    """Computes what is missing (by cell key) and appends it to the store, shard by shard.

    Batches are cut from the plan's list at fixed places, so that a resumed run computes the same batches as an
    uninterrupted one. A method that raises is left out from then on, the others go on, and the tally says why. Rows of
    finished batches are stored also when the loop is interrupted.
    """
    tally, pending, stored = Tally(), [], time.monotonic()
    todo = set().union(*missing.values()) if missing else set()
    groups = [plan.images[i : i + batch] for i in range(0, len(plan.images), batch)]
    groups = [group for group in ([i for i in g if i in todo] for g in groups) if group]
    try:
        with Passes(plan.model.net, chunk=chunk, precision=precision) as passes:
            for samples in _load(plan.dataset, groups, workers):
                pending += _batch(plan, cells, missing, samples, passes, maps, seed, device, tally)
                tally.images += len(samples)
                tally.forward_equivalents = passes.forward_equivalents
                progress.advance(len(samples), f"{passes.forward_equivalents / tally.images:.0f} forwards an image")
                if time.monotonic() - stored > FLUSH_SECONDS:
                    _flush(store, pending)
                    stored = time.monotonic()
    finally:
        _flush(store, pending)
    return tally


def _flush(store: Store, pending: list[dict[str, Any]]) -> None:
    if pending:
        store.append(row_table(pending))
        pending.clear()


class _Groups(TorchDataset):
    """Groups of image ids as lists of samples, for loader processes."""

    def __init__(self, dataset: Dataset, groups: list[list[str]]):
        self.dataset, self.groups = dataset, groups

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> list[Sample]:
        return [self.dataset.load(image_id) for image_id in self.groups[index]]


def _load(dataset: Dataset, groups: list[list[str]], workers: int) -> Iterator[list[Sample]]:
    yield from DataLoader(_Groups(dataset, groups), batch_size=None, num_workers=workers)


def _batch(
    plan: Plan, cells: Cells, missing: dict[str, set[str]], samples: list[Sample], passes: Passes,
    maps: MapStore | None, seed: int, device: str, tally: Tally,
) -> list[dict[str, Any]]:  # fmt: skip
    """All missing rows of one batch of samples."""
    model = plan.model
    dtype = next(model.net.parameters()).dtype
    images = model.encoding(np.stack([s.image for s in samples])).to(device=device, dtype=dtype)
    labels = torch.tensor([s.label for s in samples])
    ids = [s.image_id for s in samples]
    base = Evidence(
        passes, images, labels, ids, cam_layer=model.cam_module, seed=seed, probability=model.probability,
        zero=model.encoding.zero,
    )  # fmt: skip
    predictions = base.logits().argmax(1)
    evidence: dict[tuple[str, str], Evidence] = {}
    prepared = []
    for judge in plan.judges:
        asks = (judge.protocol.target, judge.protocol.attribution_output)
        if asks not in evidence:
            targets = predictions if asks[0] == "prediction" else labels
            evidence[asks] = base.explaining(targets, output=asks[1])
        prepared.append((evidence[asks], judge.protocol.prepare(evidence[asks])))
    rows: list[dict[str, Any]] = []
    for m, (card, parameters) in enumerate(plan.methods):
        made: dict[int, Tensor] = {}
        for j, judge in enumerate(plan.judges):
            cell, (e, shared) = cells.get((j, m)), prepared[j]
            wanted = missing.get(cell.key, set()).intersection(ids) if cell else set()
            if not wanted or card.name in tally.failed:
                continue
            try:
                if card.role == "oracle":
                    drawn = judge.protocol.oracle(shared, tuple(images.shape[-2:]))
                else:
                    drawn = made[id(e)] = made[id(e)] if id(e) in made else method_maps(card, e, parameters)
            except Exception as error:  # a plug-in may raise anything; the other methods go on
                tally.failed[card.name] = _line(error)
                continue
            scores = judge.protocol.score(shared, drawn)
            rows += _rows(plan, judge, cell, card.name, e, samples, predictions, scores, wanted)
            _count(tally, judge, card.name, scores)
            if maps:
                maps.save(cell.key, e.pair_ids, e.targets, drawn)
    return rows


def _rows(
    plan: Plan, judge: Judge, cell: Cell, method: str, e: Evidence, samples: list[Sample], predictions: Tensor,
    scores: Scores, wanted: set[str],
) -> list[dict[str, Any]]:  # fmt: skip
    owners, targets, predicted = e.owner.tolist(), e.targets.tolist(), predictions.tolist()
    values = scores.values.tolist()
    return [
        {
            "cell": cell.key, "image_id": samples[owner].image_id, "image_digest": samples[owner].digest,
            "target": targets[pair], "unit": "image", "metric": judge.card.metric,
            "score": values[pair] if scores.status[pair] == OK else None, "status": scores.status[pair],
            "prediction": predicted[owner], "protocol": judge.card.name, "dataset": plan.dataset.name,
            "model": plan.model.name, "reference_model": None, "method": method,
        }
        for pair, owner in enumerate(owners) if samples[owner].image_id in wanted
    ]  # fmt: skip


def _count(tally: Tally, judge: Judge, method: str, scores: Scores) -> None:
    number = sum(status == "undefined-map" for status in scores.status)
    if number:
        key = (judge.card.name, method)
        tally.undefined[key] = tally.undefined.get(key, 0) + number


def _line(error: Exception) -> str:
    """An error in one line, with its kind unless it already speaks to the user."""
    words = " ".join(str(error).split())
    return words if isinstance(error, XaibenchError) else f"{type(error).__name__}: {words}"
