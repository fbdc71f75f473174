"""From the words of a command to what a run needs: data, model, protocols, methods, and the cells of their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.attribution.methods import choose_methods, effective
from xaibench.cards import DatasetCard, MethodCard, Profile, ProtocolCard
from xaibench.datasets.base import Dataset, content_hash
from xaibench.datasets.open import open_dataset, parameters_of
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

    def cell(self, judge: Judge, card: MethodCard, parameters: dict[str, Any]) -> Cell:
        """The cell of a method under a judge."""
        method = {
            "name": card.name, "version": card.version, "parameters": parameters, "transform": card.transform,
            "source": card.source, "kind": card.role,
        }  # fmt: skip
        return Cell(judge.context, method)

    def cells(self) -> dict[tuple[int, int], Cell]:
        """All cells by (judge, method) number; an oracle has one only under protocols that can draw it."""
        return {
            (j, m): self.cell(judge, *method)
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


def make_context(
    card: ProtocolCard, protocol_settings: dict[str, Any], data: DatasetCard, dataset: Dataset, options: dict[str, Any],
    model: Model, profile: tuple[str, Profile], seed: int, precision: str,
) -> dict[str, Any]:  # fmt: skip
    """Everything that can change a number except method and images, with labels in words for titles."""
    name, content = profile
    overrides = ", ".join(f"{value} {key}" for key, value in content.overrides.items())
    settings = parameters_of(data, options)
    if data.needs_root:
        settings |= {"classes": content_hash("\n".join(dataset.classes).encode())}
    chosen = ", ".join(f"{k} {v}" for k, v in options.items())
    crop = data.geometry.crop
    return {
        "protocol": {
            "name": card.name, "version": card.version, "settings": protocol_settings, "metric": card.metric,
            "range": list(card.range), "higher_is_better": card.higher_is_better, "undefined_cost": card.undefined_cost,
            "label": f"{card.name} ({_words(protocol_settings)})",
        },
        "dataset": {
            "name": data.name, "version": data.version, "source": data.source, "settings": settings,
            "geometry": data.geometry.model_dump(),
            "label": f"{data.name} ({crop} px{', ' + chosen if chosen else ''})",
        },
        "model": {
            "name": model.name, "version": model.version, "source": model.source, "cam_layer": model.cam_layer,
            "cam_grid": list(model.cam_grid), "notes": list(model.notes), "mean": list(model.encoding.mean),
            "std": list(model.encoding.std), "label": model.label,
        },
        "weights": model.weights,
        "profile": {"name": name, "overrides": content.overrides,
                    "label": f"profile {name}{' (' + overrides + ')' if overrides else ''}"},
        "seed": seed,
        "precision": precision,
    }  # fmt: skip


def _words(settings: dict[str, Any]) -> str:
    """Settings in words: plain where a value speaks for itself, named where it does not."""
    words = []
    for key, value in settings.items():
        speaks = {"baseline": f"{value} baseline", "target": f"target {value}"}
        words.append(speaks.get(key, f"{key.replace('_', ' ')} {value}"))
    return ", ".join(words)


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
    return Plan(
        opened, ready,
        [
            Judge(card, judge, make_context(
                card, card.parameters | own, data, opened, options, ready, (named, spending), seed, precision
            ))
            for card, judge, own in zip(cards, judges, chosen, strict=True)
        ],
        [(card, effective(card, spending.overrides)) for card in found],
        opened.image_list(count), skipped, training, data.geometry.crop, comparable,
    )  # fmt: skip


def _unaligned(card: ProtocolCard, problem: str, model, data: DatasetCard, wanted: Wanted) -> XaibenchError:
    ways = missing_weights(model, data, Wanted("aligned", wanted.grid, wanted.baseline)).args[0].split("; ", 1)[1]
    return XaibenchError(
        f"{card.name} needs weights aligned with its deletions, but {problem}; judge them by sds, or {ways}"
    )
