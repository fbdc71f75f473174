"""What goes into the key of a result: everything that can change a number, except which images.

A `label` says a part in words for titles; it is the only thing here that no key hashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xaibench import registry
from xaibench.attribution.stages import layer_of, placed_name
from xaibench.cards import DatasetCard, MethodCard, ProtocolCard
from xaibench.datasets.base import Dataset
from xaibench.datasets.open import parameters_of
from xaibench.hashing import content_hash
from xaibench.masks.dataset import mask_key_fields
from xaibench.models.base import Model
from xaibench.protocols.base import Protocol

if TYPE_CHECKING:
    from xaibench.evaluation.held_out import HeldOut
    from xaibench.evaluation.resolve import ResolvedRun


def make_context(
    order: ResolvedRun, card: ProtocolCard, protocol: Protocol, model: Model, second: Model | None = None,
    held_out: HeldOut | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The context that the cells of all methods share: protocol, data, model, weights, profile, seed, precision.

    second is a model that protocols may compare with, which then is the part `reference`; held_out are images that
    they may be fitted to.
    """
    overrides, second = order.spending.overrides, second if protocol.needs_reference else None
    others = {"held_out": held_out.key_fields(protocol.held_out_images)} if protocol.held_out_images else {}
    if protocol.shows_others and order.dataset.on_disk:  # what is drawn is drawn from settings that are hashed anyway
        others |= {"shown": content_hash("\n".join(sorted(order.dataset.ids)).encode())}
    words = f"{model.label} against {second.label}" if second else model.label
    return {
        "protocol": {
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
        | others,
        "dataset": _dataset(order.data, order.dataset, order.options),
        "model": _model(model) | {"label": words},
        "weights": model.weights,
        "profile": {
            "name": order.profile,
            "overrides": overrides,
            "label": _words(f"profile {order.profile}", [f"{value} {key}" for key, value in overrides.items()]),
        },
        "seed": order.seed,
        "precision": order.precision,
    } | ({"reference": _reference(second)} if second else {})


def _model(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": model.version,
        "source": model.source,
        "cam_layer": model.cam_layer,
        "cam_grid": list(model.cam_grid),
        "notes": list(model.notes),
    } | model.encoding.key_fields


def _reference(model: Model) -> dict[str, Any]:
    weights = {name: value for name, value in model.weights.items() if name != "label"}  # only a part's own is no key
    return _model(model) | {"weights": weights, "label": model.label}


def _dataset(card: DatasetCard, dataset: Dataset, options: dict[str, Any]) -> dict[str, Any]:
    settings = parameters_of(card, options)
    if card.needs_root:  # labels are indices into the classes, so other folders mean other labels
        settings |= {"classes": content_hash("\n".join(dataset.classes).encode())}
    masks = mask_key_fields(dataset)
    words = [f"{card.geometry.crop} px", *(f"{k} {v}" for k, v in options.items())]
    words += [f"{masks['maker']} masks"] if masks else []
    return {
        "name": card.name,
        "version": card.version,
        "source": registry.source(card),
        "settings": settings,
        "geometry": card.geometry.key_fields,
        "label": _words(card.name, words),
    } | ({"masks": masks} if masks else {})


def method_part(
    card: MethodCard, parameters: dict[str, Any], stages: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What a cell says of its method, with the parameters that it runs with; `kind` and `label` are for boards and not
    hashed. stages are the paths of the model's modules by the name of a stage."""
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


def _words(name: str, details: list[str]) -> str:
    return f"{name} ({', '.join(details)})" if details else name
