"""What a run computes: jobs, each one method under one protocol with the key of its results; and its images.

A plan trains nothing and stores nothing. Which images a job still lacks follows from the stored rows alone
(`results.completion`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from xaibench.attribution.adapters.regions import method_regions, same_partition
from xaibench.attribution.methods import fitting_methods, incompatibility, is_default, merge_parameters
from xaibench.attribution.stages import with_layer
from xaibench.attribution.trial import trial_of
from xaibench.cards import MethodCard, ProtocolCard
from xaibench.datasets.base import Dataset
from xaibench.evaluation.held_out import HeldOut, open_held_out
from xaibench.evaluation.keys import make_context, method_part
from xaibench.evaluation.resolve import ResolvedRun
from xaibench.evaluation.weights import OpenedModels
from xaibench.models.base import Model
from xaibench.models.opened import unseen
from xaibench.protocols.base import Protocol
from xaibench.results.cells import Cell


@dataclass(frozen=True, eq=False)
class ProtocolRun:
    """A protocol in a run: its card, the object with its settings, and the context that its results share."""

    card: ProtocolCard
    protocol: Protocol
    context: dict[str, Any]

    @property
    def name(self) -> str:
        """The protocol's name."""
        return self.card.name


@dataclass(frozen=True, eq=False)
class MethodRun:
    """A method in a run: its card, and the parameters that it runs with."""

    card: MethodCard
    parameters: dict[str, Any]

    @property
    def name(self) -> str:
        """The method's name."""
        return self.card.name


@dataclass(frozen=True, eq=False)
class Job:
    """One method under one protocol; method None where the protocol scores the model alone. cell: the key of the
    results, with all that it hashes."""

    protocol: ProtocolRun
    method: MethodRun | None
    cell: Cell

    @property
    def key(self) -> str:
        """The result key: the value of the column `cell` in its rows."""
        return self.cell.key

    @property
    def maps(self) -> str:
        """The key under which its maps are kept: that of the result, where no other protocol could take them."""
        return self.cell.maps or self.key


@dataclass(frozen=True)
class Plan:
    """Everything that a run computes: every job on every image of the list.

    images: ids of the list, of which protocols of the plan may need others besides. skipped: why methods of a default
    list are left out. training: what is known of the model's training here. side: height and width of the images in
    pixels. comparable: whether the model's classes are those of the data set. reference: the second model, for
    protocols that compare two. held_out: images that protocols are fitted to.
    """

    dataset: Dataset
    model: Model
    protocols: tuple[ProtocolRun, ...]
    methods: tuple[MethodRun, ...]
    images: tuple[str, ...]
    skipped: dict[str, str]
    training: dict[str, Any] | None
    side: int
    comparable: bool
    reference: Model | None = None
    held_out: HeldOut | None = None

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs: those without a method first, then protocol by protocol; an oracle has one only under protocols
        that can draw it."""
        # once for all protocols: the parts hash the files of plug-ins
        parts = {method: method_part(method.card, method.parameters, self.model.stages) for method in self.methods}
        alone = [run for run in self.protocols if run.protocol.without_method]
        return (
            *(Job(run, None, Cell(run.context, None)) for run in alone),
            *(
                Job(run, method, self._cell(run, method, part))
                for run in self.protocols
                if run not in alone
                for method, part in parts.items()
                if method.card.role != "oracle" or run.protocol.has_oracle
            ),
        )

    @property
    def models(self) -> list[Model]:
        """The model, and the second where there is one."""
        return [self.model, *([self.reference] if self.reference else [])]

    def of_images(self, images: Sequence[str]) -> Plan:
        """The same plan for other images."""
        return replace(self, images=tuple(images))

    def _cell(self, run: ProtocolRun, method: MethodRun, part: dict[str, Any]) -> Cell:
        """The cell of a method, of which `part` is what its key says. An oracle's maps are its protocol's own."""
        kind = kind_of(run.protocol, method.card, method.parameters, self.side)
        cell = Cell(run.context, part | {"kind": kind})
        own = method.card.role == "oracle"
        return cell if own else replace(cell, maps=cell.map_key(run.protocol.attribution_output))


def kind_of(protocol: Protocol, card: MethodCard, parameters: dict[str, Any], side: int) -> str:
    """What a board calls a method on images of side x side pixels: its role, or an oracle, where it perturbs the
    protocol's own regions."""
    regions = protocol.regions((side, side))
    own = method_regions(card, parameters, (side, side)) if regions is not None else None
    return "oracle" if own is not None and same_partition(own, regions) else card.role


def make_plan(run: ResolvedRun, models: OpenedModels) -> Plan:
    """The plan of a request whose models are there; raises XaibenchError for a named method that does not fit."""
    model = models.model
    trial = trial_of(
        model, run.data.geometry.crop, [protocol.attribution_output for _, protocol in run.protocols], run.layer
    )

    def reason_against(card: MethodCard) -> str | None:
        reason = unseen(model.net, card.needs) or incompatibility(card, model.family, bool(model.cam_layer), run.layer)
        return reason or trial(card)

    default = is_default(run.config.methods)
    cards, skipped = fitting_methods(run.methods, default, model.name, model.family, reason_against)
    held_out = open_held_out(run)
    overrides = run.profile.overrides
    return Plan(
        dataset=run.dataset,
        model=model,
        protocols=tuple(
            ProtocolRun(card, protocol, make_context(run, card, protocol, model, models.reference, held_out))
            for card, protocol in run.protocols
        ),
        methods=tuple(MethodRun(c, with_layer(c, merge_parameters(c, overrides), run.layer)) for c in cards),
        images=tuple(run.dataset.image_list(run.images)),
        skipped=skipped,
        training=models.training,
        side=run.data.geometry.crop,
        comparable=models.comparable,
        reference=models.reference,
        held_out=held_out,
    )
