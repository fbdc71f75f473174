"""The numbers of one batch: samples become evidence, evidence maps, maps scores, scores rows; nothing is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from xaibench.attribution.costs import MethodCost
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.methods import method_maps
from xaibench.attribution.runner import PRECISIONS, ModelRunner
from xaibench.datasets.base import Dataset, Sample, validate_sample
from xaibench.evaluation.batch import batch_evidence
from xaibench.evaluation.drawing import BatchMaps, MadeMaps
from xaibench.evaluation.plan import Job, Plan, ProtocolRun
from xaibench.evaluation.plugin_errors import MethodRaised, call_protocol, in_one_line, raised_by_method
from xaibench.evaluation.resources import choose_chunk
from xaibench.evaluation.rows import Predictions, RowMaker
from xaibench.evaluation.targets import TargetBatch, collect_targets
from xaibench.models.base import Model
from xaibench.models.dilate import sample_input
from xaibench.protocols.base import UNDEFINED_MAP, Protocol, Scores, validate_scores
from xaibench.results.maps import MapIndex

Missing = Mapping[str, Set[str]]  # image ids by result key
Note = Callable[[str | None, str | None], None]
"""Is told the names of the method and the protocol that time is spent on from now on; the protocol None: on the maps of
the method; the method None: on what the protocol does for all methods."""


@dataclass
class Tally:
    """What was counted: computed images, undefined maps by (protocol, method), methods that failed and why, the
    forward-equivalents of all passes, and what each method cost, by its name on boards."""

    images: int = 0
    undefined: dict[tuple[str, str], int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    forward_equivalents: int = 0
    costs: dict[str, MethodCost] = field(default_factory=dict)

    def count(self, protocol: str, method: str, scores: Scores) -> None:
        """Adds the undefined maps among some scores."""
        number = scores.status.count(UNDEFINED_MAP)
        if number:
            self.undefined[protocol, method] = self.undefined.get((protocol, method), 0) + number

    def add(self, other: Tally) -> None:
        """Adds what was counted elsewhere."""
        self.images += other.images
        self.forward_equivalents += other.forward_equivalents
        for key, number in other.undefined.items():
            self.undefined[key] = self.undefined.get(key, 0) + number
        for name, reason in other.failed.items():
            self.failed.setdefault(name, reason)
        for name, cost in other.costs.items():
            self.costs.setdefault(name, MethodCost()).add(cost)


@dataclass(frozen=True)
class BatchResult:
    """The rows of a batch, and the maps that were made for it."""

    rows: list[dict[str, Any]]
    maps: list[MadeMaps]


@dataclass(frozen=True)
class Computer:
    """A plan with its networks on a device, ready to compute batches in any order.

    runner passes inputs through the model, reference_runner through the second one. fitted: protocols as they were
    fitted to held-out images, by result key. A method that raises is left out from then on, the others go on, and the
    tally says why.
    """

    plan: Plan
    runner: ModelRunner
    reference_runner: ModelRunner | None
    device: str
    seed: int
    fitted: dict[str, Protocol] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)

    @property
    def forward_equivalents(self) -> int:
        """The cost of all passes so far, through both models."""
        return self.runner.forward_equivalents + (
            self.reference_runner.forward_equivalents if self.reference_runner else 0
        )

    def compute(
        self,
        samples: Sequence[Sample],
        missing: Missing,
        note: Note = lambda method, protocol: None,
        *,
        maps: Missing = MappingProxyType({}),
        kept: MapIndex | None = None,
        keep: bool = False,
    ) -> BatchResult:
        """What is missing of a batch of samples; note is told before what each stretch of time is spent.

        missing: the images that lack rows; maps: those that lack a map alone. kept: maps that are there already and
        are not made again. keep: whether the result is to hold those that are made.
        """
        costs = self.runner.counting_costs(self.tally.costs, self.device)
        with self.runner.arithmetic(), costs:  # protocols multiply and convolve, too
            base = self.evidence(samples, self.plan.dataset)
            make = RowMaker(samples, Predictions.of(self.plan, base, samples))
            reference = None
            if self.reference_runner:
                reference = self._evidence(samples, self.plan.dataset, self.plan.reference, self.reference_runner)
            targets = collect_targets(self.plan.protocols, base, reference, samples)
            drawn = BatchMaps({sample.image_id: sample.digest for sample in samples}, kept, keep)
            return _Batch(self, make, missing, maps, targets, drawn).result(note)

    def evidence(self, samples: Sequence[Sample], dataset: Dataset) -> Evidence:
        """Evidence of the model about samples of a data set; raises XaibenchError for samples that do not fit."""
        for sample in samples:
            validate_sample(sample, self.plan.side, len(self.plan.dataset.classes), self.plan.dataset.name)
        return self._evidence(samples, dataset, self.plan.model, self.runner)

    def failed(self, method: str, protocol: str) -> bool:
        """Whether a method has raised, for all protocols or under this one."""
        return bool({method, f"{method} under {protocol}"} & self.tally.failed.keys())

    def _evidence(self, samples: Sequence[Sample], dataset: Dataset, model: Model, runner: ModelRunner) -> Evidence:
        return batch_evidence(samples, dataset, model, runner, self.device, self.seed)


@contextmanager
def open_computer(plan: Plan, device: str, chunk: int, precision: str, seed: int) -> Iterator[Computer]:
    """A computer for a plan whose models are on the device (`ready`), while the block runs."""
    with ExitStack() as stack:
        runners = [
            stack.enter_context(ModelRunner(model.net, chunk=chunk, precision=precision)) for model in plan.models
        ]
        yield Computer(plan, runners[0], runners[1] if plan.reference else None, device, seed)


def ready(plan: Plan, device: str, chunk: int | str, precision: str) -> int:
    """Puts the plan's models on a device, and returns how many inputs go through them in one pass."""
    for model in plan.models:
        model.freeze(device, PRECISIONS["float64" if precision == "float64" else "float32"])
    examples = [
        sample_input(m.encoding.channels, plan.side).to(next(m.net.parameters(), torch.zeros(1, device=device)))
        for m in plan.models
    ]
    return min(choose_chunk(chunk, m.net, example) for m, example in zip(plan.models, examples, strict=True))


@dataclass(frozen=True)
class _Batch:
    """One batch while it is computed: what protocols prepared, and results so far."""

    computer: Computer
    make: RowMaker
    missing: Missing
    without_maps: Missing
    targets: dict[tuple[str, str], TargetBatch]
    maps: BatchMaps
    prepared: dict[int, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def result(self, note: Note) -> BatchResult:
        """All rows and maps that are missing, those without a method first, then method by method."""
        plan = self.computer.plan
        for run in plan.protocols:
            note(None, run.name)
            self.prepared[id(run)] = self._prepare(run)
        for job in plan.jobs:
            if job.method is None and (wanted := self._of_batch(job, self.missing)):
                note(None, job.protocol.name)
                self._score(job, wanted, job.protocol.protocol.score, self.prepared[id(job.protocol)], None)
        for method in plan.methods:
            self.maps.begin()
            for job in plan.jobs:
                if job.method is method and not self.computer.failed(method.name, job.protocol.name):
                    self._explain(job, note)
        return BatchResult(self.rows, self.maps.made)

    def _targets(self, run: ProtocolRun) -> TargetBatch:
        return self.targets[run.protocol.target, run.protocol.attribution_output]

    def _of_batch(self, job: Job, missing: Missing) -> set[str]:
        """The images of the batch among those that a job lacks."""
        return set(missing.get(job.key, ())).intersection(sample.image_id for sample in self.make.samples)

    def _prepare(self, run: ProtocolRun) -> Any:
        """What is the same for all methods; None where nothing is missing, or nothing explained."""
        targets = self._targets(run)
        jobs = [job for job in self.computer.plan.jobs if job.protocol is run]
        oracles = [job for job in jobs if job.method is not None and job.method.card.role == "oracle"]
        needed = any(self._of_batch(job, self.missing) for job in jobs)
        needed |= any(self._of_batch(job, self.without_maps) for job in oracles)
        if not len(targets) or not needed:
            return None
        shown = targets.compared if run.protocol.needs_reference else targets.evidence
        return call_protocol(run, run.protocol.prepare, shown)

    def _explain(self, job: Job, note: Note) -> None:
        """The rows and maps of a method under a protocol; a method that raises is noted, and the others go on."""
        method, run, targets = job.method, job.protocol, self._targets(job.protocol)
        wanted = self._of_batch(job, self.missing)
        if not wanted and not self._of_batch(job, self.without_maps):
            return

        def again(changed: Evidence) -> Tensor:
            with raised_by_method():
                return method_maps(method.card, changed, method.parameters)

        try:
            note(method.name, None)
            maps = self.maps.draw(job, targets, self.prepared[id(run)])
            if wanted:
                note(method.name, run.name)
                score = self.computer.fitted.get(job.key, run.protocol).score_method
                self._score(job, wanted, score, self.prepared[id(run)], maps, again)
        except MethodRaised as raised:
            # where its maps failed, they failed for all protocols; what one asks for besides (other images) only there
            for_all = method.card.role != "oracle" and not self.maps.has(job, targets)
            name = method.name if for_all else f"{method.name} under {run.name}"
            self.computer.tally.failed[name] = in_one_line(raised.error)

    def _score(self, job: Job, wanted: set[str], score: Callable, *arguments: Any) -> None:
        """Adds the rows of a job, by the protocol's function `score` of these arguments."""
        targets, card = self._targets(job.protocol), job.protocol.card
        scores = Scores(torch.empty(0, dtype=torch.float64), [])
        if len(targets):
            given = call_protocol(job.protocol, score, *arguments)
            scores = validate_scores(given, len(targets), card.name, card.further)
        self.computer.tally.count(card.name, job.cell.method_name, scores)
        self.rows.extend(self.make.rows(job, targets.evidence, scores, wanted))
