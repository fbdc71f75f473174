"""From the words of a command to what a run needs: data, model, protocols, methods, and the cells of their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.attribution.methods import choose_methods, effective
from xaibench.cards import DatasetCard, MethodCard, ModelCard, ProtocolCard
from xaibench.datasets.base import Dataset
from xaibench.datasets.open import open_dataset
from xaibench.engine.context import make_context, method_part
from xaibench.errors import XaibenchError
from xaibench.models.base import Model
from xaibench.models.open import (
    DEFAULT_ALIGNMENT,
    Wanted,
    build_model,
    find_weights,
    load_weights,
    missing_weights,
    model_card,
)
from xaibench.models.state import class_count, read_state
from xaibench.protocols.api import make_protocol
from xaibench.protocols.base import Protocol
from xaibench.results.cells import Cell
from xaibench.training.api import plan_training


@dataclass(frozen=True)
class Judge:
    """A protocol of a run: its card, the object, and the context that its cells share."""

    card: ProtocolCard
    protocol: Protocol
    context: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a run computes: every method under every judge on every image of the list."""

    dataset: Dataset
    model: Model
    judges: list[Judge]
    methods: list[tuple[MethodCard, dict[str, Any]]]
    images: list[str]
    skipped: dict[str, str]
    training: dict[str, Any] | None
    side: int  # height and width of the images in pixels
    comparable: bool  # whether the model's classes are those of the data set

    def cells(self) -> dict[tuple[int, int], Cell]:
        """All cells by (judge, method) number; an oracle has one only under protocols that can draw it."""
        return {
            (j, m): Cell(judge.context, method_part(*method))
            for j, judge in enumerate(self.judges)
            for m, method in enumerate(self.methods)
            if method[0].role != "oracle" or judge.protocol.has_oracle
        }


def choose_weights(cards: Sequence[ProtocolCard], named: str | None) -> str:
    """The weights of a run: those that are named, or the ones that all its protocols ask for."""
    kinds = {card.weights for card in cards}
    if named is None and len(kinds) > 1:
        wishes = ", ".join(f"{card.name} {card.weights}" for card in cards)
        raise XaibenchError(
            f"a run has one set of weights, and these protocols want different ones ({wishes}); name --weights"
        )
    return named or kinds.pop()


def open_model(
    name: str,
    data: DatasetCard,
    dataset: Dataset,
    wanted: Wanted,
    *,
    root: Path | None,
    options: dict[str, Any],
    any_classes: bool,
    download: bool,
    compute: dict[str, Any],
) -> tuple[Model, dict[str, Any] | None, bool]:
    """A model with the weights that are wanted, trained first where the data set has a recipe; its training's facts.

    any_classes lets weights of another class count through, for runs that explain predictions; the last of what is
    returned says whether the model's classes are those of the data set.
    """
    card = model_card(name)
    if data.recipe and wanted.choice in ("plain", "aligned"):
        alignment = DEFAULT_ALIGNMENT.model_copy(update={"grid": wanted.grid, "baseline": wanted.baseline})
        planned = plan_training(
            name, data.name, alignment if wanted.choice == "aligned" else None, data_root=root, options=options,
            download=download,
        )  # fmt: skip
        path = planned.carry_out(**compute)
    else:
        path = find_weights(card, data, wanted, download)
        if path is None:
            raise missing_weights(card, data, wanted)
    model = build_model(card, len(dataset.classes), data.geometry, data.min_cam_grid)
    state = read_state(path)
    other = class_count(model.net, state) if any_classes else None
    if other:
        model = build_model(card, other, data.geometry, data.min_cam_grid)
    return load_weights(model, path, wanted.choice, card), state.facts or None, other is None


def make_plan(
    protocols: Sequence[str], model: str, dataset: str, *, data_root: Path | None, methods: Sequence[str] | None,
    images: int | None, profile: str | None, weights: str | None, settings: dict[str, Any], options: dict[str, Any],
    seed: int, precision: str, download: bool, compute: dict[str, Any],
) -> Plan:  # fmt: skip
    """Looks everything up, cheap things first, so that a wrong word is told before anything is trained or loaded."""
    cards = [registry.card("protocol", name) for name in dict.fromkeys(protocols)]
    chosen = [{k: v for k, v in settings.items() if k in card.parameters} for card in cards]
    for name in settings:
        if not any(name in card.parameters for card in cards):
            raise XaibenchError(f"none of {', '.join(protocols)} has the setting {name!r}")
    judges = [make_protocol(card, own) for card, own in zip(cards, chosen, strict=True)]
    data: DatasetCard = registry.card("dataset", dataset)
    named, spending = data.profile(profile)
    for judge in judges:
        judge.check((data.geometry.crop, data.geometry.crop))
    network = model_card(model)
    choose_methods(methods, model, network.family, has_cam_layer=True)
    wanted = Wanted(
        choose_weights(cards, weights), getattr(judges[0], "grid", 4), getattr(judges[0], "baseline", "zero")
    )
    opened = open_dataset(data, data_root, options)
    ready, training, comparable = open_model(
        model, data, opened, wanted, root=data_root, options=options, download=download, compute=compute,
        any_classes=all(judge.target == "prediction" for judge in judges),
    )  # fmt: skip
    for card, judge in zip(cards, judges, strict=True):
        problem = judge.check_weights(ready.weights["alignment"]) if card.weights == "aligned" else None
        if problem:
            raise _unaligned(card, problem, network, data, wanted)
    found, skipped = choose_methods(methods, model, ready.family, bool(ready.cam_layer))
    count = images if images is not None else spending.images
    if count is not None and count < 1:
        raise XaibenchError(f"--images {count}: at least one image is needed")
    contexts = [
        make_context(card, judge, data, opened, options, ready, named, spending, seed, precision)
        for card, judge in zip(cards, judges, strict=True)
    ]
    return Plan(
        dataset=opened,
        model=ready,
        judges=[Judge(*parts) for parts in zip(cards, judges, contexts, strict=True)],
        methods=[(card, effective(card, spending.overrides)) for card in found],
        images=opened.image_list(count),
        skipped=skipped,
        training=training,
        side=data.geometry.crop,
        comparable=comparable,
    )


def _unaligned(card: ProtocolCard, problem: str, model: ModelCard, data: DatasetCard, wanted: Wanted) -> XaibenchError:
    ways = missing_weights(model, data, Wanted("aligned", wanted.grid, wanted.baseline)).args[0].split("; ", 1)[1]
    return XaibenchError(
        f"{card.name} needs weights aligned with its deletions, but {problem}; judge them by sds, or {ways}"
    )
