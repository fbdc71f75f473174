"""Objects of a Python session as parts of a run: networks, data sets and functions of evidence, beside names.

Each gets a card and a name for the time of the run. Keys hold the digest of its weights and of its code; where there is
no such digest, an error asks for a name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from xaibench import registry
from xaibench.cards import Card, DatasetCard, Geometry, MethodCard, ModelCard
from xaibench.errors import XaibenchError
from xaibench.exclusive import exclusive
from xaibench.hashing import content_hash

DESCRIPTIONS = ("mean", "std", "classes")
ONE_RUN = object()  # held while objects are registered: runs in other threads may use the same names


@dataclass(frozen=True)
class Named:
    """An object with the name that its user gives it, which then stands for its code in keys."""

    thing: Any
    name: str


def named(thing: Any, name: str) -> Named:
    """A network, a data set or a function of evidence under a name, for `xaibench.run`.

    The name, and not the code, is then part of the keys of results (weights and images are in any case): it must mean
    the same thing in every run. Raises XaibenchError for what is no name.
    """
    taken = ",:*?[]/\\"
    if (
        not isinstance(name, str)
        or not name.strip()
        or name == "all"
        or not name.isprintable()
        or set(taken) & set(name)
    ):
        raise XaibenchError(f"{name!r} cannot be a name; take letters, digits, - and _")
    return Named(thing, name)


@contextmanager
def objects_as_names(given: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """The fields of a request with names in place of objects, which are registered while the block runs.

    given may also hold mean, std (of the encoding of a network that is given) and classes (names of the classes of a
    data set that is given). Also gives a description of each object. Raises XaibenchError for what is no such object.
    """
    if not _holds_objects(given):
        yield from _registered_objects(given)
        return
    from xaibench.surroundings import own_surroundings

    with exclusive([ONE_RUN]), own_surroundings():
        yield from _registered_objects(given)


def _holds_objects(given: dict[str, Any]) -> bool:
    """Whether any of the fields that take objects is more than a text."""
    return not all(isinstance(given.get(name, ""), str) for name in ("model", "dataset", "methods"))


def _registered_objects(given: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[str]]]:
    about = {name: given[name] for name in DESCRIPTIONS if name in given}
    fields = {name: value for name, value in given.items() if name not in about}
    found: dict[str, list[tuple[Card, Any]]] = {"dataset": [], "model": [], "method": []}
    model, dataset = fields.get("model", ""), fields.get("dataset", "")
    if not isinstance(model, str):
        found["model"] = [_model(model, about)]
        fields["model"] = found["model"][0][0].name
    elif {"mean", "std"} & about.keys():
        raise XaibenchError("mean and std are those of a network that is given as an object")
    if not isinstance(dataset, str):
        net = found["model"][0][1] if found["model"] else model
        found["dataset"] = [_dataset(dataset, net, about.get("classes"))]
        fields["dataset"] = found["dataset"][0][0].name
    elif "classes" in about:
        raise XaibenchError("classes are those of a data set that is given as an object")
    methods = fields.get("methods")
    if methods is not None and not isinstance(methods, str):
        methods = [methods] if callable(methods) or isinstance(methods, Named) else _list(methods)
        cards = [method if isinstance(method, str) else _method(method) for method in methods]
        # one that @xaibench.method has registered already goes by its name
        cards = [card if isinstance(card, str) or not _is_known(card[0]) else card[0].name for card in cards]
        found["method"] = [card for card in cards if not isinstance(card, str)]
        fields["methods"] = [card if isinstance(card, str) else card[0].name for card in cards]
    objects = [each for group in found.values() for each in group]
    with _registered(objects):
        yield fields, [f"{card.kind} {card.name}" for card, _ in objects]


@contextmanager
def _registered(objects: Sequence[tuple[Card, Any]]) -> Iterator[None]:
    """Registers objects under their cards' names while the block runs."""
    done: list[Card] = []
    try:
        for card, thing in objects:
            if card.name in registry.names(card.kind):
                yours = any((card.kind, card.name) == (other.kind, other.name) for other in done)
                taken = f"two {card.kind}s of this run are" if yours else f"a {card.kind} is"
                name = "one of them" if yours else "yours"
                raise XaibenchError(
                    f"{taken} called {card.name!r}{'' if yours else ' already'}; give {name} another name: "
                    "xaibench.named(..., NAME)"
                )
            registry.register(card, thing)
            done.append(card)
        yield
    finally:
        for card in done:
            registry.unregister(card)


def _is_known(card: Card) -> bool:
    return card.name in registry.names(card.kind) and registry.card(card.kind, card.name) is card


def _unpack(thing: Any) -> tuple[Any, str | None]:
    return (thing.thing, thing.name) if isinstance(thing, Named) else (thing, None)


def _model(given: Any, about: dict[str, Any]) -> tuple[Card, Any]:
    """The card of a network, and the network."""
    from torch import nn

    from xaibench.attribution.arguments import unwrapped
    from xaibench.models.opened import opened, original

    net, name = _unpack(given)
    net = original(net)
    if not isinstance(net, nn.Module):
        raise XaibenchError(f"model is a name or a torch.nn.Module, not {type(net).__name__}")
    net = original(unwrapped(net))
    with exclusive(net.modules()), opened(net):  # without the hooks of a call in another thread
        return _opened_model(net, name, about), net


def _opened_model(net: Any, name: str | None, about: dict[str, Any]) -> Card:
    """The card of a network that has no compiled parts."""
    from xaibench.attribution.api import family_of
    from xaibench.evaluation.object_sources import module_source
    from xaibench.models.inputs import input_channels
    from xaibench.models.opened import name_of

    _check_network(net)
    family = family_of(net)
    mean, std = _numbers(about.get("mean", (0.0,)), "mean"), _numbers(about.get("std", (1.0,)), "std")
    grey = " that takes grey images (ITU-R BT.601)" if input_channels(net) == 1 else ""
    return ModelCard(
        name=name or name_of(net), title=f"A {name_of(net)} of a Python session{grey}",
        source=f"named {name}" if name else module_source(net), family=family, complement=family == "bcos",
        mean=mean, std=std,
        probability="sigmoid" if family == "bcos" else "softmax",
    )  # fmt: skip


def _check_network(net: Any) -> None:
    """Raises XaibenchError for a network whose passes cannot be followed, or whose weights are not float32."""
    import torch

    from xaibench.attribution.arguments import check_parts

    kind = type(net).__name__
    check_parts(net, f"model {kind}")
    for path, parameter in net.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            kept = str(parameter.dtype).removeprefix("torch.")
            raise XaibenchError(
                f"model {kind}: {path} is {kept}; give the network in float32 (net.float()), and choose how it is "
                f"computed by precision={kept!r}"
            )


def _list(methods: Any) -> list[Any]:
    try:
        return list(methods)
    except TypeError:
        raise XaibenchError(f"methods is a list of names and functions, not {type(methods).__name__}") from None


def _numbers(values: Any, field: str) -> tuple[float, ...]:
    try:
        found = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        found = ()
    if not found or not all(map(math.isfinite, found)) or (field == "std" and min(found) <= 0):
        kind = "a positive number" if field == "std" else "a number"
        raise XaibenchError(f"{field} is {kind} for each colour, such as (0.5, 0.5, 0.5), not {values!r}")
    if len(found) not in (1, 3):
        raise XaibenchError(
            f"{field} has {len(found)} numbers; give one for each colour (3), or one for all colours or for grey"
        )
    return found


def _dataset(given: Any, model: Any, classes: Sequence[str] | None) -> tuple[Card, Any]:
    """The card of a data set, and the function that opens it."""
    from xaibench.evaluation.object_dataset import ObjectDataset, class_names, side_of

    data, name = _unpack(given)
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise XaibenchError(
            f"dataset is a name or has __len__ and __getitem__ that gives (image, label), not {type(data).__name__}"
        )
    name = name or type(data).__name__
    side, names = side_of(data, name), class_names(data, name, classes, _unpack(model)[0])

    def opened(size: int, classes: str) -> ObjectDataset:
        return ObjectDataset(data, name, names, size)

    card = DatasetCard(
        name=name, title=f"A {type(data).__name__} of a Python session", source="object",
        parameters={"classes": content_hash("\n".join(names).encode())}, needs_root=False,
        geometry=Geometry(resize=side, crop=side),
    )  # fmt: skip
    return card, opened


def _method(given: Any) -> tuple[Card, Callable]:
    """The card of a function of evidence, and the function."""
    from xaibench.evaluation.object_sources import function_source

    function, name = _unpack(given)
    if not callable(function):
        raise XaibenchError(f"a method is a name or a function of evidence, not {type(function).__name__}")
    known = getattr(function, "xaibench_card", None)
    if isinstance(known, MethodCard) and name is None:
        source = known.source
        card = known
    else:
        name = name or getattr(function, "__name__", type(function).__name__).replace("_", "-").strip("-<>")
        source = f"named {name}" if isinstance(given, Named) else function_source(function)
        card = MethodCard(name=name, title=_title(function, name), source=source)
    return card, function


def _title(function: Callable, name: str) -> str:
    """The first line of what a function says of itself, or its name."""
    return next(iter((getattr(function, "__doc__", None) or "").strip().splitlines()), name)
