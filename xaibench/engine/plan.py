"""From the words of a command to what a run needs: data, model, protocols, methods, and the cells of their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.attribution.adapters.regions import method_regions, same_partition
from xaibench.attribution.adapters.trial import trial_of
from xaibench.attribution.methods import choose_methods, effective
from xaibench.attribution.passes import PRECISIONS
from xaibench.cards import DatasetCard, MethodCard, ModelCard, Profile, ProtocolCard
from xaibench.datasets.base import Dataset
from xaibench.datasets.open import open_dataset
from xaibench.engine.context import make_context, method_part
from xaibench.errors import XaibenchError
from xaibench.models.base import Model
from xaibench.models.build import brings_weights, own_state
from xaibench.models.open import (
    DEFAULT_ALIGNMENT,
    Wanted,
    build_model,
    find_weights,
    load_weights,
    missing_weights,
    model_card,
    ways_to_weights,
)
from xaibench.models.state import StateFile, class_count, read_state
from xaibench.protocols.api import make_protocol
from xaibench.protocols.base import TARGETS, Protocol
from xaibench.results.cells import Cell
from xaibench.training.api import plan_training

MODEL_ALONE = -1  # the number of the method in cells of protocols that judge none


@dataclass(frozen=True)
class Order:
    """What a command asks for, looked up and found to make sense; nothing is trained or loaded yet.

    reference is the second model with the weights that are wanted for it, where a protocol compares two.
    """

    cards: list[ProtocolCard]
    protocols: list[Protocol]
    model: ModelCard
    data: DatasetCard
    dataset: Dataset
    root: Path | None
    options: dict[str, Any]
    methods: Sequence[str] | None
    wanted: Wanted
    profile: str
    spending: Profile
    images: int | None
    seed: int
    precision: str
    reference: tuple[ModelCard, Wanted] | None = None

    @property
    def any_classes(self) -> bool:
        """Whether the model's classes may be others than the data set's, since only predictions are explained."""
        return all(protocol.target in ("prediction", "predictions") for protocol in self.protocols)


@dataclass(frozen=True)
class Judge:
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
    judges: list[Judge]
    methods: list[tuple[MethodCard, dict[str, Any]]]
    images: list[str]
    skipped: dict[str, str]
    training: dict[str, Any] | None
    side: int  # height and width of the images in pixels
    comparable: bool  # whether the model's classes are those of the data set
    reference: Model | None = None

    def cells(self) -> dict[tuple[int, int], Cell]:
        """All cells by (judge, method) number; an oracle has one only under protocols that can draw it, and a protocol
        without a method one of its own, at `MODEL_ALONE`."""
        alone = [(j, judge) for j, judge in enumerate(self.judges) if judge.protocol.without_method]
        return {(j, MODEL_ALONE): Cell(judge.context, None) for j, judge in alone} | {
            (j, m): Cell(judge.context, method_part(*method, self._kind(judge.protocol, *method)))
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


def choose_weights(cards: Sequence[ProtocolCard], named: str | None) -> str:
    """The weights of a run: those that are named, or aligned ones where any of its protocols asks for them."""
    return named or ("aligned" if any(card.weights == "aligned" for card in cards) else "plain")


def look_up(
    protocols: Sequence[str], model: str, dataset: str, *, data_root: Path | None, methods: Sequence[str] | None,
    images: int | None, profile: str | None, weights: str | None, settings: dict[str, Any], options: dict[str, Any],
    seed: int, precision: str, reference_model: str | None = None, reference_weights: str | None = None,
) -> Order:  # fmt: skip
    """Looks up every name and checks every setting; raises XaibenchError for the first that does not fit."""
    cards = [registry.card("protocol", name) for name in dict.fromkeys(protocols)]
    for name in settings:
        if not any(name in card.parameters for card in cards):
            raise XaibenchError(f"none of {', '.join(protocols)} has the setting {name!r}")
    judges = [make_protocol(c, {k: v for k, v in settings.items() if k in c.parameters}) for c in cards]
    data: DatasetCard = registry.card("dataset", dataset)
    named, spending = data.profile(profile)
    made = registry.load(data)
    for card, judge in zip(cards, judges, strict=True):
        if judge.target not in TARGETS:
            raise XaibenchError(f"protocol {card.name}: target is one of {', '.join(TARGETS)}, not {judge.target!r}")
        lacking = sorted({*judge.needs, *(("boxes",) if judge.target == "labels" else ())} - set(made.knows))
        if lacking:
            raise XaibenchError(
                f"protocol {card.name} needs {' and '.join(lacking)}, which data set {data.name} does not have"
            )
        judge.check((data.geometry.crop, data.geometry.crop))
    network = model_card(model)
    choose_methods(methods, model, network.family, has_cam_layer=True)
    deleting = next((j for c, j in zip(cards, judges, strict=True) if c.weights == "aligned"), None)
    grid, baseline = getattr(deleting, "grid", 4), getattr(deleting, "baseline", "zero")
    if precision not in PRECISIONS:
        raise XaibenchError(f"unknown precision {precision!r}; it is one of {', '.join(PRECISIONS)}")
    reference = _reference(cards, judges, model, reference_model, reference_weights, grid, baseline)
    count = images if images is not None else spending.images
    if count is not None and count < 1:
        raise XaibenchError(f"--images {count}: at least one image is needed")
    return Order(
        cards=cards,
        protocols=judges,
        model=network,
        data=data,
        dataset=open_dataset(data, data_root, options),
        root=data_root,
        options=options,
        methods=methods,
        wanted=Wanted(choose_weights(cards, weights), grid, baseline),
        profile=named,
        spending=spending,
        images=count,
        seed=seed,
        precision=precision,
        reference=reference,
    )


def _reference(
    cards: Sequence[ProtocolCard], protocols: Sequence[Protocol], model: str, named: str | None, weights: str | None,
    grid: int, baseline: str,
) -> tuple[ModelCard, Wanted] | None:  # fmt: skip
    """The second model of a run and its weights: what is not said is the model's name, and `plain`."""
    asking = [card.name for card, protocol in zip(cards, protocols, strict=True) if protocol.needs_reference]
    asked = named is not None or weights is not None
    if asking and not asked:
        raise XaibenchError(
            f"protocol {asking[0]} compares two models; name the second by --reference-model or --reference-weights"
        )
    if asked and not asking:
        names = ", ".join(card.name for card in cards)
        raise XaibenchError(f"none of {names} compares two models; leave out --reference-model and --reference-weights")
    if not asked:
        return None
    choice = weights or "plain"
    if choice not in ("plain", "aligned") and not Path(choice).is_file():
        raise XaibenchError(f"--reference-weights {choice} is neither plain, nor aligned, nor a file")
    return model_card(named or model), Wanted(choice, grid, baseline)


def open_plan(order: Order, *, download: bool, workers: int, device: str, quiet: bool) -> Plan:
    """The plan of an order: finds or makes the weights, and keys every result."""
    model, state, other = _network(order, download, workers, device, quiet)
    second = _second(order, model, download, workers, device, quiet) if order.reference else None
    for card, judge in zip(order.cards, order.protocols, strict=True):
        problem = judge.check_weights(model.weights["alignment"]) if card.weights == "aligned" else None
        if problem:
            raise _unaligned(card, problem, order)
    trial = trial_of(model, order.data.geometry.crop, [judge.attribution_output for judge in order.protocols])
    methods, skipped = choose_methods(order.methods, model.name, model.family, bool(model.cam_layer), trial)
    return Plan(
        dataset=order.dataset,
        model=model,
        judges=[
            Judge(card, judge, make_context(order, card, judge, model, second if judge.needs_reference else None))
            for card, judge in zip(order.cards, order.protocols, strict=True)
        ],
        methods=[(card, effective(card, order.spending.overrides)) for card in methods],
        images=order.dataset.image_list(order.images),
        skipped=skipped,
        training=state.facts or None,
        side=order.data.geometry.crop,
        comparable=other is None,
        reference=second,
    )


def _second(order: Order, model: Model, download: bool, workers: int, device: str, quiet: bool) -> Model:
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
    order: Order, download: bool, workers: int, device: str, quiet: bool
) -> tuple[Model, StateFile, int | None]:
    """The model with its weights, what these were read from, and their number of classes where the data set's is
    another."""
    own = order.wanted.choice == "plain" and brings_weights(order.model)
    # a finished network stays as it is: larger last maps would change what it learnt
    geometry, grid = order.data.geometry, 0 if own else order.data.min_cam_grid
    model, classes = build_model(order.model, len(order.dataset.classes), geometry, grid), len(order.dataset.classes)
    state = own_state(order.model, model.net) if own else read_state(_weights(order, download, workers, device, quiet))
    other = class_count(model.net, state) or (model.classes if model.classes != classes else None)
    if other and not order.any_classes:
        raise XaibenchError(
            f"weights {state.path} are for {other} classes, {order.data.name} has {classes}; "
            "name weights for these classes, or explain what the model says by --target prediction"
        )
    if other and other != model.classes:
        model = build_model(order.model, other, geometry, grid)
    return load_weights(model, state, "own" if own else order.wanted.choice, order.model), state, other


def _weights(order: Order, download: bool, workers: int, device: str, quiet: bool) -> Path:
    """The file of the weights that an order wants; trained now where the data set has a recipe for it."""
    if not order.data.recipe or order.wanted.choice not in ("plain", "aligned"):
        path = find_weights(order.model, order.data, order.wanted, download)
        if path is None:
            raise missing_weights(order.model, order.data, order.wanted)
        return path
    changes = {"grid": order.wanted.grid, "baseline": order.wanted.baseline}
    alignment = DEFAULT_ALIGNMENT.model_copy(update=changes) if order.wanted.choice == "aligned" else None
    training = plan_training(
        order.model.name, order.data.name, alignment, data_root=order.root, options=order.options, download=download
    )
    return training.carry_out(workers=workers, device=device, quiet=quiet)


def _unaligned(card: ProtocolCard, problem: str, order: Order) -> XaibenchError:
    aligned = Wanted("aligned", order.wanted.grid, order.wanted.baseline)
    ways = ways_to_weights(order.model, order.data, aligned)
    return XaibenchError(
        f"{card.name} needs weights aligned with its deletions, but {problem}; judge them by sds, or {ways}"
    )
