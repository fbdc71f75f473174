"""From the words of a command to objects: every name looked up, every setting checked, nothing trained or loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.attribution.methods import choose_methods
from xaibench.attribution.passes import PRECISIONS
from xaibench.cards import DatasetCard, ModelCard, Profile, ProtocolCard
from xaibench.datasets.base import Dataset
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError
from xaibench.models.open import Wanted, model_card
from xaibench.protocols.api import make_protocol
from xaibench.protocols.base import TARGETS, Protocol


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
