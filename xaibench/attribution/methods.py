"""Methods by name: which of them fit a model, with which parameters, and their maps."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from xaibench import registry
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.maps import to_map, validate_attributions
from xaibench.attribution.reach import is_flat, without_gradient
from xaibench.attribution.stages import LAYER, LayerEvidence, at_stage, layer_of, off_stage
from xaibench.cards import MethodCard
from xaibench.errors import XaibenchError

NETWORK_NEEDS = frozenset({"attention", "biases", "completeness", "relu"})  # tested by a pass through the network

EXTRAS = frozenset({"zennit"})  # packages of methods that are extras of the same name

FAMILY_NAMES = {"vit": "a vision transformer", "bcos": "a B-cos network", "bagnet": "a BagNet", "cnn": "a CNN"}


def incompatibility(card: MethodCard, family: str, has_cam_layer: bool, layer: str | None = None) -> str | None:
    """Why a method cannot explain a model of this family, at a stage of it where one is named; None where it can."""
    if reason := lacking_package(card):
        return reason
    if card.families and family not in card.families:
        return f"needs {' or '.join(FAMILY_NAMES.get(f, f) for f in card.families)}"
    if "cam-layer" in card.needs and not has_cam_layer:
        return "needs a layer with a spatial map"
    return off_stage(card) if layer else None


def lacking_package(card: MethodCard) -> str | None:
    """That the package of a method is not installed, and what installs it; None where it is, or is not an extra."""
    package = card.target.partition(":")[0].partition(".")[0]
    if package not in EXTRAS or importlib.util.find_spec(package) is not None:
        return None
    return f"needs the package {package}: pip install 'xaibench[{package}]'"


def method_cards(names: Sequence[str] | None, family: str) -> list[MethodCard]:
    """The cards of methods, with their parameters for models of a family, each looked up once.

    names: None is the paper's list, the controls and the methods of plug-ins of this process; `all` is every registered
    method. Raises XaibenchError for a name that is unknown.
    """
    listed = registry.names("method") if is_default(names) else list(dict.fromkeys(names))
    cards = [registry.card("method", name).for_family(family) for name in listed]
    if names is None:
        cards = [c for c in cards if "paper" in c.tags or c.role in ("control", "oracle") or registry.plugged_in(c)]
    return cards


def is_default(names: Sequence[str] | None) -> bool:
    """Whether the methods are a list of xaibench (not named), from which those that do not fit a model are left out."""
    return names is None or list(names) == ["all"]


def fitting_methods(
    cards: Sequence[MethodCard],
    default: bool,
    model: str,
    family: str,
    reason_against: Callable[[MethodCard], str | None],
) -> tuple[list[MethodCard], dict[str, str]]:
    """The methods that fit a model, and those that are left out with the reason.

    reason_against returns why a method cannot explain the model, None where it can. Methods of a default list that do
    not fit are left out; a named method that does not fit raises XaibenchError.
    """
    reasons = {card.name: reason for card in cards if (reason := reason_against(card))}
    if reasons and not default:
        name, reason = next(iter(reasons.items()))
        # the family is that of the card: cnn is also that of networks of other kinds, such as mixers
        raise XaibenchError(f"method {name} {reason}; {model} is of the family {family}; leave it out of --methods")
    return [card for card in cards if card.name not in reasons], reasons


def choose_methods(
    names: Sequence[str] | None,
    model: str,
    family: str,
    has_cam_layer: bool,
    trial: Callable[[MethodCard], str | None] = lambda card: None,
    layer: str | None = None,
) -> tuple[list[MethodCard], dict[str, str]]:
    """`method_cards` of a model's family, and of these `fitting_methods` by card and by trial.

    trial returns why a method that fits by its card cannot explain this network. layer is the stage of the model at
    which maps are taken, None for its input.
    """

    def reason_against(card: MethodCard) -> str | None:
        return incompatibility(card, family, has_cam_layer, layer) or trial(card)

    return fitting_methods(method_cards(names, family), is_default(names), model, family, reason_against)


def merge_parameters(card: MethodCard, overrides: dict[str, Any]) -> dict[str, Any]:
    """A card's parameters, replaced by those overrides (of a profile, of a user) that have the same names, and by those
    of this method alone, `METHOD.PARAMETER`."""
    own = {k.removeprefix(f"{card.name}."): v for k, v in overrides.items() if k.startswith(f"{card.name}.")}
    return card.parameters | {k: v for k, v in overrides.items() if k in card.parameters} | own


def method_function(card: MethodCard) -> Callable[..., Tensor]:
    """The function of evidence of a card: its target, or an adapter where the target is a class of another package.

    Raises XaibenchError where the target cannot be imported, and for classes that are not attribution methods.
    """
    thing = registry.load(card)
    if not inspect.isclass(thing):
        return thing
    from xaibench.attribution.adapters import adapted

    return adapted(thing, card.name)


def check_parameters(card: MethodCard, parameters: dict[str, Any]) -> None:
    """Raises XaibenchError for a parameter that the method's function does not take."""
    known = list(inspect.signature(method_function(card)).parameters.values())
    if any(p.kind is p.VAR_KEYWORD for p in known):
        return
    names = [p.name for p in known][1:]
    for name in parameters:
        if name not in names:
            raise XaibenchError(f"method {card.name} has no parameter {name!r}; it has {', '.join(names) or 'none'}")


def _check_slopes(card: MethodCard, e: Evidence) -> None:
    """Raises XaibenchError where maps are zero because the network has no slope where a method takes gradients."""
    if "gradients" not in card.needs or "attention" in card.needs:
        return
    at_layer = isinstance(e, LayerEvidence) or ("cam-layer" in card.needs and "relu" not in card.needs)
    layer = e.cam_layer if at_layer else None
    if is_flat(e.runner, e.images, layer):
        raise XaibenchError(without_gradient(layer))


def method_maps(card: MethodCard, e: Evidence, parameters: dict[str, Any]) -> Tensor:
    """Attribution maps (P, 1, H, W) of a method at the size of the images."""
    seen = e
    if layer := layer_of(card, parameters):
        parameters = {name: value for name, value in parameters.items() if name != LAYER}
        seen = at_stage(e, layer, card)
    raw = validate_attributions(method_function(card)(seen, **parameters), len(e.targets), card.name)
    if not raw.any():
        _check_slopes(card, seen)
    return to_map(raw, tuple(e.images.shape[-2:]), card.transform, card.resize)
