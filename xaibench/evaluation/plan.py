"""What a run computes: the model with its weights, protocols, methods, images, and the cells of their results."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xaibench.attribution.adapters.regions import method_regions, same_partition
from xaibench.attribution.adapters.trial import trial_of
from xaibench.attribution.methods import choose_methods, merge_parameters
from xaibench.attribution.stages import with_layer
from xaibench.cards import Alignment, MethodCard, ProtocolCard
from xaibench.datasets.base import Dataset
from xaibench.errors import XaibenchError
from xaibench.evaluation.held_out import HeldOut, open_held_out
from xaibench.evaluation.keys import make_context, method_part
from xaibench.evaluation.resolve import ResolvedRun
from xaibench.models.base import Model
from xaibench.models.open import open_model
from xaibench.models.state import StateFile, check_classes
from xaibench.protocols.base import Protocol
from xaibench.results.cells import Cell
from xaibench.training.api import plan_training
from xaibench.training.config import TrainingConfig
from xaibench.training.find import WeightsRequest, find_weights, how_to_get_weights, missing_weights, own_file
from xaibench.training.resources import Resources
from xaibench.training.tasks import alignment_fields

MODEL_ALONE = -1  # the number of the method in cells of protocols that judge none

Cells = dict[tuple[int, int], Cell]  # by the numbers of judge and method


@dataclass(frozen=True)
class ProtocolRun:
    """A protocol of a run: its card, the object, and the context that its cells share."""

    card: ProtocolCard
    protocol: Protocol
    context: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a run computes: every method under every judge on every image of the list.

    reference is the second model, for judges that compare two.
    """

    dataset: Dataset
    model: Model
    judges: list[ProtocolRun]
    methods: list[tuple[MethodCard, dict[str, Any]]]
    images: list[str]
    skipped: dict[str, str]
    training: dict[str, Any] | None
    side: int  # height and width of the images in pixels
    comparable: bool  # whether the model's classes are those of the data set
    reference: Model | None = None
    held_out: HeldOut | None = None  # where a protocol is fitted before it judges

    def cells(self) -> Cells:
        """All cells by (judge, method) number; an oracle has one only under protocols that can draw it, and a protocol
        without a method one of its own, at `MODEL_ALONE`."""
        alone = [(j, judge) for j, judge in enumerate(self.judges) if judge.protocol.without_method]
        # once: they hash the files of plug-ins
        parts = [method_part(*method, self.model.stages) for method in self.methods]
        return {(j, MODEL_ALONE): Cell(judge.context, None) for j, judge in alone} | {
            (j, m): Cell(judge.context, parts[m] | {"kind": self._kind(judge.protocol, *method)})
            for j, judge in enumerate(self.judges)
            for m, method in enumerate(self.methods)
            if not judge.protocol.without_method
            if method[0].role != "oracle" or judge.protocol.has_oracle
        }

    def _kind(self, protocol: Protocol, card: MethodCard, parameters: dict[str, Any]) -> str:
        """What a board calls a method: one that perturbs the protocol's own regions measures what is asked of it."""
        size = (self.side, self.side)
        asked = protocol.regions(size)
        own = method_regions(card, parameters, size) if asked is not None else None
        return "oracle" if own is not None and same_partition(own, asked) else card.role


def open_plan(order: ResolvedRun, *, download: bool, workers: int, device: str, quiet: bool) -> Plan:
    """The plan of an order: finds or makes the weights, and keys every result."""
    model, state, other = _network(order, download, workers, device, quiet)
    second = _second(order, model, download, workers, device, quiet) if order.reference else None
    alignment = model.weights["alignment"] and Alignment(**model.weights["alignment"])
    for card, judge in zip(order.cards, order.protocols, strict=True):
        problem = judge.check_weights(alignment) if card.weights == "aligned" else None
        if problem:
            raise _unaligned(card, judge, problem, order)
    trial = trial_of(model, order.data.geometry.crop, [judge.attribution_output for judge in order.protocols])
    methods, skipped = choose_methods(
        order.methods, model.name, model.family, bool(model.cam_layer), trial, order.layer
    )
    held_out = open_held_out(order)
    return Plan(
        dataset=order.dataset,
        model=model,
        judges=[
            ProtocolRun(card, judge, make_context(order, card, judge, model, second, held_out))
            for card, judge in zip(order.cards, order.protocols, strict=True)
        ],
        methods=[(c, with_layer(c, merge_parameters(c, order.spending.overrides), order.layer)) for c in methods],
        images=order.dataset.image_list(order.images),
        skipped=skipped,
        training=state.header or None,
        side=order.data.geometry.crop,
        comparable=other is None,
        reference=second,
        held_out=held_out,
    )


def _second(order: ResolvedRun, model: Model, download: bool, workers: int, device: str, quiet: bool) -> Model:
    """The second model of an order, found or made as the first was; its classes must be the first one's."""
    card, wanted = order.reference
    try:
        second, _, _ = _network(replace(order, model=card, wanted=wanted), download, workers, device, quiet)
    except XaibenchError as error:
        raise XaibenchError(f"the second model (--reference-model, --reference-weights): {error}") from error
    if second.classes != model.classes:
        raise XaibenchError(
            f"--reference-model {second.name} tells {second.classes} classes apart, {model.name} {model.classes}; "
            "compare models of the same classes"
        )
    return second


def _network(
    order: ResolvedRun, download: bool, workers: int, device: str, quiet: bool
) -> tuple[Model, StateFile, int | None]:
    """The model with its weights, what these were read from, and their number of classes where the data set's is
    another."""

    def weights() -> Path:
        return _weights(order, download, workers, device, quiet)

    found = open_model(
        order.model, order.data, len(order.dataset.classes), order.wanted.choice, weights, order.any_classes
    )
    if order.wanted.choice in ("plain", "aligned"):  # a file that is named is taken for these classes
        check_classes(found[1], order.dataset.classes, order.data.name)
    if trained := _trained_words(order):
        found[0].weights["label"] += f", {trained}"
    return found


def _trained_words(order: ResolvedRun) -> str:
    """How weights are trained for an order otherwise than usual, for titles."""
    words = [f"training seed {order.training_seed}"] if order.training_seed else []
    return ", ".join([*words, *(f"{name} {value}" for name, value in order.recipe.items())])


def _weights(order: ResolvedRun, download: bool, workers: int, device: str, quiet: bool) -> Path:
    """The file of the weights that an order wants; trained now where the data set has a recipe for it."""
    if path := own_file(order.model, order.data, order.wanted):
        if order.training_seed is not None or order.recipe:
            raise XaibenchError(
                f"model {order.model.name} is what one training gave; --training-seed and --recipe need a model that a "
                "run trains itself"
            )
        return path
    if not order.data.recipe or order.wanted.choice not in ("plain", "aligned"):
        path = find_weights(order.model, order.data, order.wanted, download, order.options)
        if path is None:
            raise missing_weights(order.model, order.data, order.wanted)
        return path
    alignment = order.wanted.alignment if order.wanted.choice == "aligned" else None
    config = TrainingConfig(
        model=order.model.name,
        dataset=order.data.name,
        data_root=order.root,
        dataset_options=order.options,
        recipe=order.recipe,
        download=download,
        seed=order.training_seed or 0,
        image_size=order.data.geometry.crop,
        **alignment_fields(alignment),
    )
    training = plan_training(config)
    return training.run(resources=Resources(workers, device, quiet=quiet))


def _unaligned(card: ProtocolCard, judge: Protocol, problem: str, order: ResolvedRun) -> XaibenchError:
    ways = how_to_get_weights(order.model, order.data, WeightsRequest("aligned", judge.alignment))
    other = "judge them by sds, or " if judge.alignment.kind == "cell" else ""
    return XaibenchError(f"{card.name} needs weights aligned with its deletions, but {problem}; {other}{ways}")
