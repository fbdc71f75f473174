"""The registry: cards by name, and the objects they name.

Cards come from four places, in this order, and a name that appears twice is an error: the cards that ship with
xaibench, the user's own (`XAIBENCH_HOME/cards/<kind>s/*.toml`), entry points `xaibench.<kind>s` of installed packages,
and what `@xaibench.method` and its kin registered from a plug-in file. Listing names reads no card and imports nothing
heavy; an object is imported when it is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xaibench.errors import XaibenchError, unknown
from xaibench.home import home

if TYPE_CHECKING:
    from xaibench.cards import Card, MethodCard

_decorated: dict[tuple[str, str], tuple[Card, Any]] = {}


@cache
def shipped() -> Path:
    """The folder of the cards that ship with xaibench: inside the package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "_registry"
    return inside if inside.is_dir() else package.parent / "registry"


def _places(kind: str) -> dict[str, Path | EntryPoint | None]:
    """Where each name of a kind is defined; None for what a decorator registered."""
    places: dict[str, Path | EntryPoint | None] = {}
    found: list[tuple[str, Path | EntryPoint | None]] = []
    for folder in (shipped() / f"{kind}s", home() / "cards" / f"{kind}s"):
        found += [(path.name.removesuffix(".toml"), path) for path in sorted(folder.glob("*.toml"))]
    found += [(entry.name, entry) for entry in entry_points(group=f"xaibench.{kind}s")]
    found += [(name, None) for known, name in _decorated if known == kind]
    for name, place in found:
        if name in places:
            raise XaibenchError(f"{kind} {name!r} is defined twice: {_where(places[name])} and {_where(place)}")
        places[name] = place
    return places


def _where(place: Path | EntryPoint | None) -> str:
    if place is None:
        return "a plug-in"
    return str(place) if isinstance(place, Path) else f"entry point {place.value}"


def names(kind: str, pattern: str = "*") -> list[str]:
    """The names of all cards of a kind (method, model, dataset, protocol) that match a glob, sorted."""
    return sorted(name for name in _places(kind) if fnmatchcase(name, pattern))


def card(kind: str, name: str) -> Any:
    """The card of a name (MethodCard, ModelCard, ...); raises XaibenchError with the nearest names."""
    places = _places(kind)
    if name not in places:
        raise unknown(kind, name, places)
    place = places[name]
    if place is None:
        return _decorated[kind, name][0]
    if isinstance(place, EntryPoint):
        return _entry_card(kind, place)
    from xaibench.cards import read_card

    return read_card(kind, place)


def _entry_card(kind: str, entry: EntryPoint) -> Card:
    """A card made by an entry point: the object is a card, or a function decorated by xaibench."""
    from xaibench.cards import Card

    thing = entry.load()
    found = thing if isinstance(thing, Card) else getattr(thing, "xaibench_card", None)
    if found is None or found.kind != kind:
        raise XaibenchError(f"entry point {entry.value} gives neither a {kind} card nor a decorated {kind}")
    return found


def load(card: Card) -> Any:
    """The object that a card's target names; raises XaibenchError where it cannot be imported."""
    if (card.kind, card.name) in _decorated:
        return _decorated[card.kind, card.name][1]
    module, _, attribute = card.target.partition(":")
    try:
        thing = importlib.import_module(module)
        for part in attribute.split("."):
            thing = getattr(thing, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise XaibenchError(f"{card.kind} {card.name}: target {card.target!r} cannot be imported: {error}") from error
    return thing


def plugged_in(card: Card) -> bool:
    """Whether a card was registered by a decorator in this process: what a plug-in brings runs by default."""
    return (card.kind, card.name) in _decorated


def register(card: Card, thing: Any) -> None:
    """Adds a card and its object for this process; raises XaibenchError where the name is taken."""
    places = _places(card.kind)
    place = places.get(card.name)
    if isinstance(place, EntryPoint) and place.module == getattr(thing, "__module__", None):
        return  # a package's decorator, run because its entry point was asked for
    if card.name in places:
        raise XaibenchError(f"{card.kind} {card.name!r} exists already; give the plug-in another name")
    _decorated[card.kind, card.name] = (card, thing)


def method(
    name: str, *, title: str = "", transform: str = "raw", needs: tuple[str, ...] = (), **parameters: Any
) -> Callable:
    """Registers a function of evidence as an attribution method: the decorator of plug-ins.

    The function takes an `Evidence` and the keyword parameters given here, and returns attributions (pairs, C, h, w) of
    any spatial size: the channels are summed, `transform` ("raw" or "abs") applied, the map resized. The digest of the
    file that defines it is part of every result's key, so an edited method never reuses old rows.

    >>> import torch, xaibench
    >>> @xaibench.method("my-saliency", transform="abs")
    ... def my_saliency(evidence):
    ...     return evidence.gradient()
    """

    def decorate(function: Callable) -> Callable:
        from xaibench.cards import MethodCard

        made: MethodCard = MethodCard(
            name=name,
            title=title or (function.__doc__ or name).strip().splitlines()[0],
            target=f"{function.__module__}:{function.__qualname__}",
            parameters=parameters,
            transform=transform,
            needs=needs,
            source=_source_digest(function),
        )
        register(made, function)
        function.xaibench_card = made
        return function

    return decorate


def _source_digest(thing: Any) -> str:
    """The digest of the file that defines a function or class; of its name where there is no file (a notebook)."""
    import inspect

    from xaibench.datasets.base import content_hash

    try:
        path = inspect.getsourcefile(thing)
        return content_hash(Path(path).read_bytes()) if path else content_hash(inspect.getsource(thing).encode())
    except (OSError, TypeError):
        return content_hash(_code_words(getattr(thing, "__code__", thing)).encode())


def _code_words(code: Any) -> str:
    """What a code object does, in words that do not change from process to process."""
    if not hasattr(code, "co_code"):
        return repr(code)
    return f"{code.co_code!r} {code.co_names} {[_code_words(constant) for constant in code.co_consts]}"


def load_plugin(path: Path) -> None:
    """Runs a Python file whose decorators register methods; raises XaibenchError when it is missing or fails."""
    if not path.is_file():
        raise XaibenchError(f"plug-in {path} does not exist")
    from xaibench.datasets.base import content_hash

    name = f"xaibench_plugin_{path.stem}_{content_hash(str(path.resolve()).encode())}"
    for key in [key for key, (_, thing) in _decorated.items() if getattr(thing, "__module__", "") == name]:
        del _decorated[key]  # the file is loaded again in this process: it replaces itself
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except XaibenchError:
        raise
    except Exception as error:
        raise XaibenchError(f"plug-in {path} failed while loading: {type(error).__name__}: {error}") from error
