"""What goes into the key of a result: everything that can change a number, except which images.

A `label` describes a part for titles; it is the only thing here that no key hashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xaibench import registry
from xaibench.attribution.stages import layer_of, placed_name
from xaibench.cards import DatasetCard, MethodCard, Profile, ProtocolCard
from xaibench.datasets.base import Dataset
from xaibench.datasets.open import parameters_of
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.held_out import HeldOut
from xaibench.evaluation.resolve import ResolvedRun
from xaibench.evaluation.resources import choose_device
from xaibench.hashing import content_hash
from xaibench.masks.dataset import mask_key_fields
from xaibench.models.base import Model
from xaibench.protocols.base import Protocol


def make_context(
    run: ResolvedRun,
    card: ProtocolCard,
    protocol: Protocol,
    model: Model,
    reference: Model | None = None,
    held_out: HeldOut | None = None,
) -> dict[str, Any]:
    """The context that the results of all methods share: protocol, data, model, weights, profile, seed, precision.

    reference is the second model, with which protocols may compare; held_out are images that they may be fitted to.
    """
    reference = reference if protocol.needs_reference else None
    label = f"{model.label} against {reference.label}" if reference else model.label
    return (
        {
            "protocol": protocol_part(card, protocol) | _other_images(run, protocol, held_out),
            "dataset": _dataset(run.data, run.dataset, run.config.dataset_options),
            "model": _model(model) | {"label": label},
            "weights": model.weights,
            "profile": profile_part(run.profile_name, run.profile),
            "seed": run.config.seed,
            "precision": run.config.precision,
        }
        | _arithmetic(run.config)
        | ({"reference": _reference(reference)} if reference else {})
    )


def protocol_part(card: ProtocolCard, protocol: Protocol) -> dict[str, Any]:
    """What a result's key says of a protocol with its settings, besides other images that a score depends on."""
    return (
        {
            "name": card.name,
            "version": card.version,
            "source": registry.source(card),
            "settings": {name: getattr(protocol, name) for name in card.parameters},
            "metric": card.metric,
            "range": list(card.range),
            "higher_is_better": card.higher_is_better,
            "undefined_cost": card.undefined_cost,
            "label": f"{card.name} ({protocol.description})",
        }
        | ({"further": {k: m.model_dump(mode="json") for k, m in card.further.items()}} if card.further else {})
        | protocol.key_fields
    )


def profile_part(name: str, profile: Profile) -> dict[str, Any]:
    """What a result's key says of a profile."""
    values = [f"{value} {key}" for key, value in profile.overrides.items()]
    details = [profile.described] if profile.described else values
    return {"name": name, "overrides": profile.overrides, "label": _label(f"profile {name}", details)}


def method_part(
    card: MethodCard, parameters: dict[str, Any], stages: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What a result's key says of its method, with the parameters that it runs with; `kind` and `label` are for boards
    and not hashed. stages are the paths of the model's modules by the name of a stage."""
    layer = layer_of(card, parameters)
    return (
        ({"label": placed_name(card, parameters), "module": stages[layer]} if layer else {})
        | {
            "name": card.name,
            "version": card.version,
            "parameters": parameters,
            "transform": card.transform,
            "source": registry.source(card),
            "kind": card.role,
        }
        | ({} if card.resize == "bilinear" else {"resize": card.resize})
    )


def _arithmetic(config: RunConfig) -> dict[str, str]:
    """That float32 is no TF32 on a GPU, where it was before this part was in keys.

    At other precisions it was in what protocols computed beside the passes; and captum drew on the GPU then.
    """
    on_gpu = choose_device(config.device).startswith("cuda")
    return {"arithmetic": "ieee"} if on_gpu and config.precision != "tf32" else {}


def _other_images(run: ResolvedRun, protocol: Protocol, held_out: HeldOut | None) -> dict[str, Any]:
    """The images besides the evaluated one that a score depends on: held-out ones, and those shown along with it."""
    others = {"held_out": held_out.key_fields(protocol.held_out_images)} if protocol.held_out_images else {}
    if protocol.shows_others and run.dataset.on_disk:  # what is drawn is drawn from settings that are hashed anyway
        others |= {"shown": content_hash("\n".join(sorted(run.dataset.ids)).encode())}
    return others


def _model(model: Model) -> dict[str, Any]:
    return (
        {
            "name": model.name,
            "version": model.version,
            "source": model.source,
            "cam_layer": model.cam_layer,
            "cam_grid": list(model.cam_grid),
            "notes": list(model.notes),
        }
        | model.encoding.key_fields
        | ({"outputs": "one logit"} if model.one_logit else {})
        | ({"zero_shot": model.zero_shot} if model.zero_shot else {})
    )


def _reference(model: Model) -> dict[str, Any]:
    # the label of a nested part would be hashed
    weights = {name: value for name, value in model.weights.items() if name != "label"}
    return _model(model) | {"weights": weights, "label": model.label}


def _dataset(card: DatasetCard, dataset: Dataset, options: dict[str, Any]) -> dict[str, Any]:
    settings = parameters_of(card, options)
    if card.needs_root:  # labels are indices into the classes, so other folders mean other labels
        settings |= {"classes": content_hash("\n".join(dataset.classes).encode())}
    masks = mask_key_fields(dataset)
    details = [f"{card.geometry.crop} px", *(f"{k} {v}" for k, v in options.items())]
    details += [f"{masks['maker']} masks"] if masks else []
    return {
        "name": card.name,
        "version": card.version,
        "source": registry.source(card),
        "settings": settings,
        "geometry": card.geometry.key_fields,
        "label": _label(card.name, details),
    } | ({"masks": masks} if masks else {})


def _label(name: str, details: list[str]) -> str:
    return f"{name} ({', '.join(details)})" if details else name
