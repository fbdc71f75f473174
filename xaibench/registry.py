"""The registry: cards by name, and the objects they name.

Cards come from five places, in this order, and a name that appears twice is an error: the cards that ship with
xaibench, the user's own (`XAIBENCH_HOME/cards/<kind>s/*.toml`), folders added for this process (`--cards DIR`, in the
same layout), entry points `xaibench.<kind>s` of installed packages, and what `@xaibench.method` and its kin registered
from a plug-in file (`plugins.py`). Listing names reads no card and imports nothing heavy; an object is imported when it
is asked for.
"""

from __future__ import annotations

import importlib
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xaibench.errors import XaibenchError, unknown
from xaibench.home import home
from xaibench.importing import load_file

if TYPE_CHECKING:
    from xaibench.cards import Card

_decorated: dict[tuple[str, str], tuple[Card, Any]] = {}
_folders: list[Path] = []


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
    for folder in (shipped(), home() / "cards", *_folders):
        found += [(path.name.removesuffix(".toml"), path) for path in sorted((folder / f"{kind}s").glob("*.toml"))]
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
    """The names of all cards of a kind (method, model, dataset, protocol, comparison) that match a glob, sorted."""
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


def add_folder(folder: Path) -> None:
    """Adds a folder of cards for this process: `methods/*.toml`, `models/`, `datasets/`, ... in it.

    Raises XaibenchError where it has none of these.
    """
    from xaibench.cards import KINDS

    if not any((folder / f"{kind}s").is_dir() for kind in KINDS):
        raise XaibenchError(
            f"--cards {folder} is no folder of cards; it holds methods/NAME.toml, models/, datasets/, protocols/ or "
            "comparisons/"
        )
    if folder.resolve() not in _folders:
        _folders.append(folder.resolve())


def _entry_card(kind: str, entry: EntryPoint) -> Card:
    """A card made by an entry point: the object is a card, or a function decorated by xaibench."""
    from xaibench.cards import Card

    thing = entry.load()
    found = thing if isinstance(thing, Card) else getattr(thing, "xaibench_card", None)
    if found is None or found.kind != kind:
        raise XaibenchError(f"entry point {entry.value} gives neither a {kind} card nor a decorated {kind}")
    return found


def load(card: Card) -> Any:
    """The object that a card's target names, `module:attribute` or `file.py:attribute`.

    Raises XaibenchError where it cannot be imported.
    """
    if (card.kind, card.name) in _decorated:
        return _decorated[card.kind, card.name][1]
    module, _, attribute = card.target.rpartition(":")
    try:
        thing = load_file(Path(module)) if module.endswith(".py") else importlib.import_module(module)
        for part in attribute.split("."):
            thing = getattr(thing, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise XaibenchError(f"{card.kind} {card.name}: target {card.target!r} cannot be imported: {error}") from error
    return thing


def source(card: Card) -> str:
    """What names the code behind a card, for the keys of results; "" for what ships with xaibench.

    A plug-in or a target of somebody else's is named by its attribute and its files (see `sources.py`), a card of the
    user's whose target is xaibench's own by that target.
    """
    if card.source or not card.target:
        return card.source
    if card.target.startswith("xaibench."):
        return "" if (shipped() / f"{card.kind}s" / f"{card.name}.toml").is_file() else card.target
    from xaibench.sources import file_source, source_of

    module, _, attribute = card.target.rpartition(":")
    return f"{attribute} {file_source(Path(module)) if module.endswith('.py') else source_of(load(card))}"


def plugged_in(card: Card) -> bool:
    """Whether a card came with the command, by a plug-in or a folder of cards: such methods run by default."""
    if (card.kind, card.name) in _decorated:
        return True
    return any((folder / f"{card.kind}s" / f"{card.name}.toml").is_file() for folder in _folders)


def register(card: Card, thing: Any) -> None:
    """Adds a card and its object for this process; raises XaibenchError where the name is taken."""
    places = _places(card.kind)
    place = places.get(card.name)
    if isinstance(place, EntryPoint) and place.module == getattr(thing, "__module__", None):
        return  # a package's decorator, run because its entry point was asked for
    if card.name in places:
        raise XaibenchError(f"{card.kind} {card.name!r} exists already; give the plug-in another name")
    _decorated[card.kind, card.name] = (card, thing)


def forget(module: str) -> None:
    """Takes out what a module registered, before its file is run again in this process."""
    for key in [key for key, (_, thing) in _decorated.items() if getattr(thing, "__module__", "") == module]:
        del _decorated[key]


def unregister(card: Card) -> None:
    """Takes out what `register` added."""
    _decorated.pop((card.kind, card.name), None)
