"""From the names of a request to objects: each is looked up once, settings are checked, nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.attribution.methods import fitting_methods, incompatibility, is_default, method_cards
from xaibench.attribution.stages import validate_stage
from xaibench.cards import Alignment, DatasetCard, MethodCard, ModelCard, Profile, ProtocolCard
from xaibench.datasets.base import Dataset
from xaibench.datasets.open import drops_parts, open_dataset
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.masks.dataset import with_masks
from xaibench.models.clip import PREFIX, ZeroShot, is_clip
from xaibench.models.open import model_card
from xaibench.protocols.api import make_protocol
from xaibench.protocols.base import TARGETS, Protocol
from xaibench.training.find import CHOICES, DEFAULT_ALIGNMENT, WeightsRequest


@dataclass(frozen=True)
class ResolvedRun:
    """What a request asks for, looked up and found to make sense; nothing is trained or loaded yet.

    protocols are the cards with the objects that have their settings. methods are the cards of all methods that were
    asked for, as they are for the model's family; those that do not fit the network are left out later. reference is
    the second model with the weights that are wanted for it, where a protocol compares two. layer is the stage of the
    model at which maps are taken, None for its input. images: how many, None for all.
    """

    config: RunConfig
    protocols: tuple[tuple[ProtocolCard, Protocol], ...]
    model: ModelCard
    data: DatasetCard
    dataset: Dataset
    methods: tuple[MethodCard, ...]
    weights: WeightsRequest
    profile_name: str
    profile: Profile
    images: int | None
    reference: tuple[ModelCard, WeightsRequest] | None
    layer: str | None

    @property
    def any_classes(self) -> bool:
        """Whether the model's classes may be others than the data set's, since only predictions are explained."""
        return all(protocol.target in ("prediction", "predictions") for _, protocol in self.protocols)


def resolve(config: RunConfig) -> ResolvedRun:
    """Looks up every name and checks every setting; raises XaibenchError for the first that does not fit."""
    cards = [registry.card("protocol", name) for name in dict.fromkeys(config.protocols)]
    settings = protocol_settings(cards, config.settings)
    protocols = [make_protocol(card, chosen) for card, chosen in zip(cards, settings, strict=True)]
    data: DatasetCard = registry.card("dataset", config.dataset)
    profile_name, profile = data.profile(config.profile)
    model = _card(config, config.model, config.weights)
    data = data.for_model(model, config.image_size)
    dataset = _dataset(config, data, cards, protocols)
    layer = validate_stage(model, config.layer)
    methods = method_cards(config.methods, model.family)
    fitting_methods(
        methods, is_default(config.methods), config.model, model.family,
        lambda card: incompatibility(card, model.family, has_cam_layer=True, layer=layer),
    )  # fmt: skip
    alignment = choose_alignment(cards, protocols, data)
    trains = data.recipe and (config.weights or "plain") in ("plain", "aligned")
    if (config.training_seed is not None or config.recipe) and not trains:
        raise XaibenchError(
            f"--training-seed and --recipe are of weights that a run trains itself, which it does on data sets with a "
            f"recipe such as critters; train on {data.name} by `xaibench train`, and name the file by --weights"
        )
    return ResolvedRun(
        config=config,
        protocols=tuple(zip(cards, protocols, strict=True)),
        model=model,
        data=data,
        dataset=dataset,
        methods=tuple(methods),
        weights=_weights(model, config.weights or ("aligned" if alignment else "plain"), alignment),
        profile_name=profile_name,
        profile=profile,
        images=config.images if config.images is not None else profile.images,
        reference=_reference(config, cards, protocols, alignment),
        layer=layer,
    )


def protocol_settings(cards: Sequence[ProtocolCard], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The settings of each protocol: those for all that have them, and over them those under the protocol's own name.

    Raises XaibenchError for a setting that no protocol has, and for one that would have no effect.
    """
    names = ", ".join(card.name for card in cards)
    own = {name: value for name, value in settings.items() if isinstance(value, Mapping)}
    shared = {name: value for name, value in settings.items() if name not in own}
    for name in own:
        if all(name != card.name for card in cards):
            raise XaibenchError(f"settings of {name!r}: the protocols of this run are {names}")
    for name in shared:
        having = [card.name for card in cards if name in card.parameters]
        if not having:
            raise XaibenchError(f"none of {names} has the setting {name!r}")
        if all(name in own.get(protocol, {}) for protocol in having):
            raise XaibenchError(
                f"setting {name} is given twice for {' and '.join(having)}: {name}={shared[name]} and "
                f"{having[0]}.{name}={own[having[0]][name]}; leave one out"
            )
    return [{k: v for k, v in shared.items() if k in card.parameters} | dict(own.get(card.name, {})) for card in cards]


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


def _dataset(
    config: RunConfig, data: DatasetCard, cards: Sequence[ProtocolCard], protocols: Sequence[Protocol]
) -> Dataset:
    """The data set, opened, with its masks; raises XaibenchError where it lacks what a protocol needs."""
    dataset = open_dataset(data, config.data_root, config.dataset_options)
    dataset = with_masks(data, dataset, config.masks) if config.masks else dataset
    for card, protocol in zip(cards, protocols, strict=True):
        if protocol.target not in TARGETS:
            raise XaibenchError(f"protocol {card.name}: target is one of {', '.join(TARGETS)}, not {protocol.target!r}")
        lacking = sorted({*protocol.needs, *(("boxes",) if protocol.target == "labels" else ())} - dataset.knows)
        if lacking:
            raise XaibenchError(
                f"protocol {card.name} needs {' and '.join(lacking)}, which data set {data.name} does not have"
                + ("; make some by `xaibench masks make`, and name them by --masks" if lacking == ["objects"] else "")
            )
        protocol.check((data.geometry.crop, data.geometry.crop))
    if config.masks and not any("objects" in protocol.needs for protocol in protocols):
        names = ", ".join(card.name for card in cards)
        raise XaibenchError(f"none of {names} asks for objects; leave out --masks")
    return dataset


def _reference(
    config: RunConfig, cards: Sequence[ProtocolCard], protocols: Sequence[Protocol], alignment: Alignment | None
) -> tuple[ModelCard, WeightsRequest] | None:
    """The second model of a run and its weights; defaults: the name of the first model, and plain weights."""
    asking = [card.name for card, protocol in zip(cards, protocols, strict=True) if protocol.needs_reference]
    given = config.reference_model is not None or config.reference_weights is not None
    if asking and not given:
        raise XaibenchError(
            f"protocol {asking[0]} compares two models; name the second by --reference-model or --reference-weights"
        )
    if given and not asking:
        names = ", ".join(card.name for card in cards)
        raise XaibenchError(f"none of {names} compares two models; leave out --reference-model and --reference-weights")
    if not given:
        return None
    model = _card(config, config.reference_model or config.model, config.reference_weights)
    choice = config.reference_weights or "plain"
    if not is_clip(model) and choice not in CHOICES and not Path(choice).is_file():
        raise XaibenchError(f"--reference-weights {choice} is neither {', nor '.join(CHOICES)}, nor a file")
    return model, _weights(model, choice, alignment)


def _card(config: RunConfig, name: str, weights: str | None) -> ModelCard:
    """The card of the first or of the second model; the classes of a file are those of whichever is CLIP."""
    others = [config.model, config.reference_model or ""]
    of_another = not name.startswith(PREFIX) and any(other.startswith(PREFIX) for other in others)
    return model_card(
        name, None if of_another else ZeroShot(config.classes_file, config.prompt, weights, config.download)
    )


def _weights(model: ModelCard, choice: str, alignment: Alignment | None) -> WeightsRequest:
    """The weights of a choice; those of a zero-shot classifier are in its card."""
    return WeightsRequest("plain" if is_clip(model) else choice, alignment or DEFAULT_ALIGNMENT)
