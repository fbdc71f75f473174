"""From the words of a command to objects: every name looked up, every setting checked, nothing trained or loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.attribution.methods import choose_methods
from xaibench.attribution.runner import PRECISIONS
from xaibench.attribution.stages import validate_stage
from xaibench.cards import Alignment, DatasetCard, ModelCard, Profile, ProtocolCard
from xaibench.datasets.base import Dataset
from xaibench.datasets.open import drops_parts, open_dataset
from xaibench.errors import XaibenchError
from xaibench.masks.dataset import with_masks
from xaibench.models.open import model_card
from xaibench.protocols.api import make_protocol
from xaibench.protocols.base import TARGETS, Protocol
from xaibench.training.find import DEFAULT_ALIGNMENT, WeightsRequest


@dataclass(frozen=True)
class ResolvedRun:
    """What a command asks for, looked up and found to make sense; nothing is trained or loaded yet.

    reference is the second model with the weights that are wanted for it, where a protocol compares two. layer is the
    stage of the model at which maps are taken, None for its input.
    """

    cards: list[ProtocolCard]
    protocols: list[Protocol]
    model: ModelCard
    data: DatasetCard
    dataset: Dataset
    root: Path | None
    options: dict[str, Any]
    methods: Sequence[str] | None
    wanted: WeightsRequest
    profile: str
    spending: Profile
    images: int | None
    seed: int
    precision: str
    reference: tuple[ModelCard, WeightsRequest] | None = None
    layer: str | None = None
    training_seed: int | None = None  # of weights that are trained here; None: any
    recipe: dict[str, Any] = field(default_factory=dict)  # how they are trained otherwise

    @property
    def any_classes(self) -> bool:
        """Whether the model's classes may be others than the data set's, since only predictions are explained."""
        return all(protocol.target in ("prediction", "predictions") for protocol in self.protocols)


def choose_alignment(
    cards: Sequence[ProtocolCard], protocols: Sequence[Protocol], data: DatasetCard
) -> Alignment | None:
    """The deletions that the weights of a run should have been trained on; None where plain weights will do.

    Protocols that refuse other weights decide before those that only prefer some, such as weights trained on dropped
    parts, which are preferred where the data set can drop parts. Raises XaibenchError where two refuse each other's.
    """
    asking = [(c, p) for c, p in zip(cards, protocols, strict=True) if c.weights == "aligned" and p.alignment]
    strict = [(c, p) for c, p in asking if p.check_weights(None)]
    for card, protocol in strict[1:]:
        first, other = strict[0]
        if not protocol.alignment.suits(other.alignment):
            raise XaibenchError(
                f"{first.name} and {card.name} judge weights that were trained on different deletions "
                f"({other.alignment}; {protocol.alignment}); run them one after the other"
            )
    for _, protocol in strict or asking:
        if protocol.alignment.kind != "parts" or drops_parts(data):
            return protocol.alignment
    return None


def resolve(
    protocols: Sequence[str], model: str, dataset: str, *, data_root: Path | None, methods: Sequence[str] | None,
    images: int | None, profile: str | None, weights: str | None, settings: dict[str, Any], options: dict[str, Any],
    seed: int, precision: str, image_size: int | None = None, reference_model: str | None = None,
    reference_weights: str | None = None, masks: Path | None = None, layer: str | None = None,
    training_seed: int | None = None, recipe: dict[str, Any] | None = None,
) -> ResolvedRun:  # fmt: skip
    """Looks up every name and checks every setting; raises XaibenchError for the first that does not fit."""
    cards = [registry.card("protocol", name) for name in dict.fromkeys(protocols)]
    for name in settings:
        if not any(name in card.parameters for card in cards):
            raise XaibenchError(f"none of {', '.join(protocols)} has the setting {name!r}")
    judges = [make_protocol(c, {k: v for k, v in settings.items() if k in c.parameters}) for c in cards]
    data: DatasetCard = registry.card("dataset", dataset).at_size(image_size)
    named, spending = data.profile(profile)
    opened = open_dataset(data, data_root, options)
    opened = with_masks(data, opened, masks) if masks else opened
    for card, judge in zip(cards, judges, strict=True):
        if judge.target not in TARGETS:
            raise XaibenchError(f"protocol {card.name}: target is one of {', '.join(TARGETS)}, not {judge.target!r}")
        lacking = sorted({*judge.needs, *(("boxes",) if judge.target == "labels" else ())} - opened.knows)
        if lacking:
            raise XaibenchError(
                f"protocol {card.name} needs {' and '.join(lacking)}, which data set {data.name} does not have"
                + ("; make some by `xaibench masks make`, and name them by --masks" if lacking == ["objects"] else "")
            )
        judge.check((data.geometry.crop, data.geometry.crop))
    if masks and not any("objects" in judge.needs for judge in judges):
        raise XaibenchError(f"none of {', '.join(protocols)} asks for objects; leave out --masks")
    network = model_card(model)
    layer = validate_stage(network, layer)
    choose_methods(methods, model, network.family, has_cam_layer=True, layer=layer)
    alignment = choose_alignment(cards, judges, data)
    if precision not in PRECISIONS:
        raise XaibenchError(f"unknown precision {precision!r}; it is one of {', '.join(PRECISIONS)}")
    if (training_seed is not None or recipe) and not (data.recipe and (weights or "plain") in ("plain", "aligned")):
        raise XaibenchError(
            f"--training-seed and --recipe are of weights that a run trains itself, which it does on data sets with a "
            f"recipe such as critters; train on {data.name} by `xaibench train`, and name the file by --weights"
        )
    reference = _reference(cards, judges, model, reference_model, reference_weights, alignment)
    count = images if images is not None else spending.images
    if count is not None and count < 1:
        raise XaibenchError(f"--images {count}: at least one image is needed")
    return ResolvedRun(
        cards=cards,
        protocols=judges,
        model=network,
        data=data,
        dataset=opened,
        root=data_root,
        options=options,
        methods=methods,
        wanted=WeightsRequest(weights or ("aligned" if alignment else "plain"), alignment or DEFAULT_ALIGNMENT),
        profile=named,
        spending=spending,
        images=count,
        seed=seed,
        precision=precision,
        reference=reference,
        layer=layer,
        training_seed=training_seed,
        recipe=recipe or {},
    )


def _reference(
    cards: Sequence[ProtocolCard], protocols: Sequence[Protocol], model: str, named: str | None, weights: str | None,
    alignment: Alignment | None,
) -> tuple[ModelCard, WeightsRequest] | None:  # fmt: skip
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
    return model_card(named or model), WeightsRequest(choice, alignment or DEFAULT_ALIGNMENT)
