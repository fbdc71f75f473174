"""The loop: batches of images become evidence, evidence becomes maps, maps become scores, scores become rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.attribution.methods import method_maps
from xaibench.attribution.runner import ModelRunner
from xaibench.cards import MethodCard
from xaibench.datasets.base import Sample, validate_sample
from xaibench.datasets.loading import load_groups
from xaibench.evaluation.batch import batch_evidence
from xaibench.evaluation.plan import MODEL_ALONE, Cells, Plan, ProtocolRun
from xaibench.evaluation.plugin_errors import MethodRaised, call_protocol, in_one_line, raised_by_method
from xaibench.evaluation.rows import Predictions, rows_of
from xaibench.evaluation.targets import TargetBatch, collect_targets
from xaibench.models.base import Model
from xaibench.progress import Bar
from xaibench.protocols.base import UNDEFINED_MAP, Protocol, Scores, validate_scores
from xaibench.results.cells import Cell
from xaibench.results.maps import MapStore
from xaibench.results.schema import row_table
from xaibench.results.store import Store

FLUSH_SECONDS = 15.0


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
    others go on, and the tally says why. fitted: the protocols of cells (judge, method) that were fitted to held-out
    images.
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
    fitted: dict[tuple[int, int], Protocol] = field(default_factory=dict)

    def run(self, runner: ModelRunner, second: ModelRunner | None = None) -> Tally:
        """Goes through the list; rows of finished batches are stored also when it is interrupted.

        second are passes through the plan's reference model, whose cost is the run's too.
        """
        pending, stored = [], time.monotonic()
        todo, images = set().union(*self.missing.values()), self.plan.images
        cut = [[i for i in images[at : at + self.batch] if i in todo] for at in range(0, len(images), self.batch)]
        groups = [group for group in cut if group]
        try:
            for samples in load_groups(self.plan.dataset, groups, self.workers):
                pending += self._batch(samples, runner, second)
                self.tally.images += len(samples)
                theirs = second.forward_equivalents if second else 0
                self.tally.forward_equivalents = runner.forward_equivalents + theirs
                cost = self.tally.forward_equivalents / self.tally.images
                self.progress.advance(len(samples), f"{cost:.0f} forwards an image")
                if time.monotonic() - stored > FLUSH_SECONDS:
                    _flush(self.store, pending)
                    stored = time.monotonic()
        finally:
            _flush(self.store, pending)
        return self.tally

    def _batch(self, samples: list[Sample], runner: ModelRunner, second: ModelRunner | None) -> list[dict[str, Any]]:
        """All missing rows of one batch of samples."""
        data = self.plan.dataset
        for sample in samples:
            validate_sample(sample, self.plan.side, len(data.classes), data.name)
        base = self._evidence(samples, self.plan.model, runner)
        answers = Predictions.of(self.plan, base, samples)
        other = self._evidence(samples, self.plan.reference, second) if second else None
        asked = collect_targets(self.plan.judges, base, other, samples)
        prepared: list[tuple[Evidence, Any]] = []
        rows: list[dict[str, Any]] = []
        for j, judge in enumerate(self.plan.judges):
            asks = asked[judge.protocol.target, judge.protocol.attribution_output]
            e, shown = asks.evidence, asks.compared if judge.protocol.needs_reference else asks.evidence
            asked_for = len(e.targets) and any(self._wanted(cell, e) for (k, _), cell in self.cells.items() if k == j)
            shared = call_protocol(judge, judge.protocol.prepare, shown) if asked_for else None
            prepared.append((e, shared))
            cell = self.cells.get((j, MODEL_ALONE))
            if cell and (wanted := self._wanted(cell, e)):
                rows += self._scored(judge, cell, e, samples, answers, wanted, judge.protocol.score, shared, None)
        for m, (card, parameters) in enumerate(self.plan.methods):
            self.progress.advance(0, card.name)
            made: dict[int, Tensor] = {}  # maps of all pairs that are explained, by evidence
            for j, judge in enumerate(self.plan.judges):
                cell, (e, shared) = self.cells.get((j, m)), prepared[j]
                wanted = self._wanted(cell, e) if cell else set()
                if not wanted or {card.name, f"{card.name} under {judge.card.name}"} & self.tally.failed.keys():
                    continue
                try:
                    asks = asked[judge.protocol.target, judge.protocol.attribution_output]
                    drawn = draw_maps(card, parameters, judge, asks, shared, made)

                    def again(changed: Evidence, card=card, parameters=parameters) -> Tensor:
                        with raised_by_method():
                            return method_maps(card, changed, parameters)

                    score = self.fitted.get((j, m), judge.protocol).score_method
                    rows += self._scored(judge, cell, e, samples, answers, wanted, score, shared, drawn, again)
                except MethodRaised as raised:  # a plug-in may raise anything; the other methods go on
                    # its maps failed for all protocols, what one of them asks besides (other images) only there
                    shared_by_all = card.role != "oracle" and id(asks.every) not in made
                    name = card.name if shared_by_all else f"{card.name} under {judge.card.name}"
                    self.tally.failed[name] = in_one_line(raised.error)
                    continue
                if self.maps and drawn is not None:
                    self.maps.save(cell.key, e.pair_ids, e.targets, drawn)
        return rows

    def _wanted(self, cell: Cell, e: Evidence) -> set[str]:
        return self.missing.get(cell.key, set()).intersection(e.image_ids)

    def _scored(
        self, judge: ProtocolRun, cell: Cell, e: Evidence, samples: list[Sample], answers: Predictions,
        wanted: set[str], score: Callable, *arguments: Any,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """The rows of a cell for a batch, by the protocol's function `score` of these arguments."""
        scores = Scores(torch.empty(0, dtype=torch.float64), [])
        if len(e.targets):
            scores = validate_scores(
                call_protocol(judge, score, *arguments), len(e.targets), judge.card.name, judge.card.further
            )
        self.tally.count(judge.card.name, cell.method_name, scores)
        return list(rows_of(judge, cell, e, samples, answers, scores, wanted))

    def _evidence(self, samples: list[Sample], model: Model, runner: ModelRunner) -> Evidence:
        return batch_evidence(samples, self.plan.dataset, model, runner, self.device, self.seed)


def draw_maps(
    card: MethodCard,
    parameters: dict[str, Any],
    judge: ProtocolRun,
    asks: TargetBatch,
    shared: Any,
    made: dict[int, Tensor],
) -> Tensor | None:
    """The maps of a method, or of the protocol itself for the oracle; None where there is nothing to explain.

    made keeps the maps of all pairs that are explained, by evidence. Raises MethodRaised for what the method raises.
    """
    e, every = asks.evidence, asks.every
    if not len(e.targets):
        return None
    with raised_by_method():
        if card.role == "oracle":
            return judge.protocol.oracle(shared, tuple(e.images.shape[-2:]))
        if id(every) not in made:
            made[id(every)] = method_maps(card, every, parameters)
        return made[id(every)][asks.index]


def _flush(store: Store, pending: list[dict[str, Any]]) -> None:
    if pending:
        store.append(row_table(pending))
        pending.clear()
