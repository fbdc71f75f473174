"""The loop: batches of images become evidence, evidence becomes maps, maps become scores, scores become rows."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.attribution.methods import method_maps
from xaibench.attribution.passes import Passes
from xaibench.datasets.base import Sample
from xaibench.datasets.loading import load_groups
from xaibench.engine.plan import Judge, Plan
from xaibench.errors import XaibenchError
from xaibench.progress import Bar
from xaibench.protocols.base import OK, UNDEFINED_MAP, Scores
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

    def count(self, protocol: str, method: str, scores: Scores) -> None:
        """Adds the undefined maps among some scores."""
        number = scores.status.count(UNDEFINED_MAP)
        if number:
            self.undefined[protocol, method] = self.undefined.get((protocol, method), 0) + number


@dataclass
class Loop:
    """Computes what is missing and appends it to a store, shard by shard.

    missing: image ids by cell key. seed, device, and the passes' chunk and precision as the keys say; batch images are
    worked on together, loaded by `workers` processes. Batches are cut from the plan's list at fixed places, so that a
    resumed run computes the same batches as an uninterrupted one. A method that raises is left out from then on, the
    others go on, and the tally says why.
    """

    plan: Plan
    cells: Cells
    missing: dict[str, set[str]]
    store: Store
    maps: MapStore | None
    device: str
    batch: int
    workers: int
    seed: int
    progress: Bar
    tally: Tally = field(default_factory=Tally)

    def run(self, passes: Passes) -> Tally:
        """Goes through the list; rows of finished batches are stored also when it is interrupted."""
        pending, stored = [], time.monotonic()
        todo, images = set().union(*self.missing.values()), self.plan.images
        cut = [[i for i in images[at : at + self.batch] if i in todo] for at in range(0, len(images), self.batch)]
        groups = [group for group in cut if group]
        try:
            for samples in load_groups(self.plan.dataset, groups, self.workers):
                pending += self._batch(samples, passes)
                self.tally.images += len(samples)
                self.tally.forward_equivalents = passes.forward_equivalents
                cost = passes.forward_equivalents / self.tally.images
                self.progress.advance(len(samples), f"{cost:.0f} forwards an image")
                if time.monotonic() - stored > FLUSH_SECONDS:
                    _flush(self.store, pending)
                    stored = time.monotonic()
        finally:
            _flush(self.store, pending)
        return self.tally

    def _batch(self, samples: list[Sample], passes: Passes) -> list[dict[str, Any]]:
        """All missing rows of one batch of samples."""
        base = self._evidence(samples, passes)
        predictions = base.logits().argmax(1)
        asked: dict[tuple[str, str], Evidence] = {}
        prepared = []
        for judge in self.plan.judges:
            target, output = asks = (judge.protocol.target, judge.protocol.attribution_output)
            if asks not in asked:
                targets = predictions if target == "prediction" else base.targets
                asked[asks] = base.explaining(targets, output=output)
            prepared.append((asked[asks], judge.protocol.prepare(asked[asks])))
        rows: list[dict[str, Any]] = []
        for m, (card, parameters) in enumerate(self.plan.methods):
            self.progress.advance(0, card.name)
            made: dict[int, Tensor] = {}  # protocols that ask for the same evidence share a map
            for j, judge in enumerate(self.plan.judges):
                cell, (e, shared) = self.cells.get((j, m)), prepared[j]
                wanted = self.missing.get(cell.key, set()).intersection(e.image_ids) if cell else set()
                if not wanted or card.name in self.tally.failed:
                    continue
                try:
                    if card.role == "oracle":
                        drawn = judge.protocol.oracle(shared, tuple(e.images.shape[-2:]))
                    else:
                        drawn = made[id(e)] = made[id(e)] if id(e) in made else method_maps(card, e, parameters)
                except Exception as error:  # a plug-in may raise anything; the other methods go on
                    self.tally.failed[card.name] = _line(error)
                    continue
                scores = judge.protocol.score(shared, drawn)
                self.tally.count(judge.card.name, card.name, scores)
                rows += _rows(judge, cell, e, samples, predictions, scores, wanted)
                if self.maps:
                    self.maps.save(cell.key, e.pair_ids, e.targets, drawn)
        return rows

    def _evidence(self, samples: list[Sample], passes: Passes) -> Evidence:
        """Evidence about the labels of a batch."""
        model = self.plan.model
        images = model.encoding(np.stack([s.image for s in samples]))
        return Evidence(
            passes,
            images.to(device=self.device, dtype=next(model.net.parameters()).dtype),
            torch.tensor([s.label for s in samples]),
            [s.image_id for s in samples],
            cam_layer=model.cam_module,
            seed=self.seed,
            probability=model.probability,
            zero=model.encoding.zero,
        )


def _flush(store: Store, pending: list[dict[str, Any]]) -> None:
    if pending:
        store.append(row_table(pending))
        pending.clear()


def _rows(
    judge: Judge, cell: Cell, e: Evidence, samples: list[Sample], predictions: Tensor, scores: Scores, wanted: set[str]
) -> list[dict[str, Any]]:
    """Rows of one cell for the pairs whose image is wanted."""
    names = {name: judge.context[name]["name"] for name in ("protocol", "dataset", "model")}
    owners, targets, predicted = e.owner.tolist(), e.targets.tolist(), predictions.tolist()
    return [
        {
            "cell": cell.key,
            "image_id": samples[owner].image_id,
            "image_digest": samples[owner].digest,
            "target": targets[pair],
            "unit": "image",
            "metric": judge.card.metric,
            "score": score if status == OK else None,
            "status": status,
            "prediction": predicted[owner],
            **names,
            "reference_model": None,
            "method": cell.method["name"],
        }
        for pair, (owner, score, status) in enumerate(zip(owners, scores.values.tolist(), scores.status, strict=True))
        if samples[owner].image_id in wanted
    ]


def _line(error: Exception) -> str:
    """An error in one line, with its kind unless it already speaks to the user."""
    words = " ".join(str(error).split())
    return words if isinstance(error, XaibenchError) else f"{type(error).__name__}: {words}"
