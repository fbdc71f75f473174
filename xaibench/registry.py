"""The registry: cards by name, and the objects they name.

Cards come from five places, in this order, and a name that appears twice is an error: the cards that ship with
xaibench, the user's own (`XAIBENCH_HOME/cards/<plural>/*.toml`), folders added for this process (`--cards DIR`, in the
same layout), entry points `xaibench.<plural>` of installed packages, and what `@xaibench.method` and the other
decorators registered from a plug-in file (`plugins.py`). Plurals are those of `kinds.py`.

Cards of xaibench and entry points are looked up once in a process. The user's folders are listed at each lookup,
because a training adds models to them. A card is read again only when its file has changed. Listing names reads no card
and imports no large package; an object is imported by `load`.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xaibench.errors import XaibenchError, one_line, unknown
from xaibench.home import home, shipped_folder
from xaibench.importing import load_file
from xaibench.kinds import PLURALS

if TYPE_CHECKING:
    from xaibench.cards import Card

Place = Path | EntryPoint | None
"""Where a card is defined: its file, its entry point, or None for a card of a decorator."""

_decorated: dict[tuple[str, str], tuple[Card, Any]] = {}
_folders: list[Path] = []


@cache
def shipped() -> Path:
    """The folder of the cards that ship with xaibench: inside the package, or beside it in a checkout."""
    return shipped_folder("_registry", "registry")


# Where names are defined ---------------------------------------------------------------------------------------------


def _places(kind: str) -> dict[str, Place]:
    """Where each name of a kind is defined; raises XaibenchError for a name that is defined twice."""
    found: list[tuple[str, Place]] = [*_shipped_cards(kind)]
    for folder in (home() / "cards", *_folders):
        found += _cards_in(folder, kind)
    found += [(entry.name, entry) for entry in _installed(tuple(sys.path)).get(kind, ())]
    found += [(name, None) for known, name in _decorated if known == kind]
    places = dict(found)
    if len(places) < len(found):
        raise _defined_twice(kind, found)
    return places


@cache
def _shipped_cards(kind: str) -> tuple[tuple[str, Path], ...]:
    return tuple(_cards_in(shipped(), kind))


def _cards_in(folder: Path, kind: str) -> list[tuple[str, Path]]:
    """Names and files of the cards of a kind in a folder of cards, sorted; none where there is no such folder."""
    return [(path.name.removesuffix(".toml"), path) for path in sorted((folder / PLURALS[kind]).glob("*.toml"))]


@lru_cache(maxsize=1)
def _installed(search_path: tuple[str, ...]) -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of installed packages by kind of card; looked up again when sys.path has changed."""
    every = entry_points()  # reads the folder of every installed package, so it is asked once
    return {kind: tuple(every.select(group=f"xaibench.{plural}")) for kind, plural in PLURALS.items()}


def _defined_twice(kind: str, found: list[tuple[str, Place]]) -> XaibenchError:
    names = [name for name, _ in found]
    twice = next(name for name in names if names.count(name) > 1)
    first, second, *_ = (_where(place) for name, place in found if name == twice)
    return XaibenchError(f"{kind} {twice!r} is defined twice: {first} and {second}")


def _where(place: Place) -> str:
    if place is None:
        return "a plug-in"
    return str(place) if isinstance(place, Path) else f"entry point {place.value}"


def add_folder(folder: Path) -> None:
    """Adds a folder of cards for this process: `methods/*.toml`, `models/`, `datasets/`, ... in it.

    Raises XaibenchError where it has none of these.
    """
    if not any((folder / plural).is_dir() for plural in PLURALS.values()):
        raise XaibenchError(
            f"--cards {folder} is not a folder of cards: it has none of methods/, models/, datasets/, protocols/, "
            "comparisons/"
        )
    if folder.resolve() not in _folders:
        _folders.append(folder.resolve())


# Cards ---------------------------------------------------------------------------------------------------------------


def names(kind: str, pattern: str = "*") -> list[str]:
    """The names of all cards of a kind (one of `kinds.PLURALS`) that match a glob, sorted."""
    return sorted(name for name in _places(kind) if fnmatchcase(name, pattern))


def card(kind: str, name: str) -> Any:
    """The card of a name (MethodCard, ModelCard, ...); raises XaibenchError with the nearest names.

    The same card is returned until its file changes: change a copy of it, never its dicts in place.
    """
    places = _places(kind)
    if name not in places:
        raise unknown(kind, name, places)
    place = places[name]
    if place is None:
        return _decorated[kind, name][0]
    if isinstance(place, EntryPoint):
        return _entry_card(kind, place)
    state = place.stat()
    return _card_in_file(kind, place, (state.st_mtime_ns, state.st_size, state.st_ino))


@cache
def _card_in_file(kind: str, path: Path, state: tuple[int, int, int]) -> Card:
    """The card in a file; state (time of change, size, inode) is that of the file, so that an edited one is read
    again."""
    from xaibench.cards import read_card

    return read_card(kind, path)


def _entry_card(kind: str, entry: EntryPoint) -> Card:
    """A card made by an entry point: the object is a card, or a function decorated by xaibench."""
    from xaibench.cards import Card

    thing = entry.load()
    found = thing if isinstance(thing, Card) else getattr(thing, "xaibench_card", None)
    if found is None or found.kind != kind:
        raise XaibenchError(f"entry point {entry.value} gives neither a {kind} card nor a decorated {kind}")
    return found


# The objects of cards ------------------------------------------------------------------------------------------------


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
    except XaibenchError:
        raise
    except Exception as error:  # a module can raise anything while it is imported
        reason = (
            one_line(error)
            if isinstance(error, (ImportError, AttributeError))
            else f"{type(error).__name__}: {one_line(error)}"
        )
        raise XaibenchError(f"{card.kind} {card.name}: target {card.target!r} cannot be imported: {reason}") from error
    return thing


def source(card: Card) -> str:
    """A text that identifies the code of a card's object, for keys; "" for code of xaibench.

    For plug-ins and targets in other packages: the attribute and a digest of the files (see `sources.py`). For a
    user's card whose target is in xaibench: that target, with the highest version of the cards that ship with it, once
    there is a second.
    """
    if card.source or not card.target:
        return card.source
    if card.target.startswith("xaibench."):
        if card.name in dict(_shipped_cards(card.kind)):
            return ""
        version = _shipped_version_of(card)
        return card.target if version == 1 else f"{card.target} {version}"
    from xaibench.sources import file_source, source_of

    module, _, attribute = card.target.rpartition(":")
    return f"{attribute} {file_source(Path(module)) if module.endswith('.py') else source_of(load(card))}"


def _shipped_version_of(card: Card) -> int:
    """The highest version of the cards of xaibench with a card's target, which may be named by its place before 0.2."""
    versions = _shipped_versions(card.kind)
    if card.target not in versions:
        with warnings.catch_warnings(action="ignore"):  # of its old place, which whoever loads the card is told
            thing = load(card)
        return versions.get(f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', '')}", 1)
    return versions[card.target]


@cache
def _shipped_versions(kind: str) -> dict[str, int]:
    """The highest version of the cards of xaibench by target: numbers of other cards of it move with theirs."""
    versions: dict[str, int] = {}
    for name, _ in _shipped_cards(kind):
        found = card(kind, name)
        versions[found.target] = max(found.version, versions.get(found.target, 1))
    return versions


def shipped_version(kind: str, name: str) -> int | None:
    """The version of a card that ships with xaibench; None where none of that name does."""
    path = dict(_shipped_cards(kind)).get(name)
    return card(kind, name).version if path else None


def plugged_in(card: Card) -> bool:
    """Whether a card came with the command, by a plug-in or a folder of cards: such methods run by default."""
    return (card.kind, card.name) in _decorated or any(_has_card(folder, card) for folder in _folders)


def _has_card(folder: Path, card: Card) -> bool:
    return card.name in dict(_cards_in(folder, card.kind))  # exact, also where names of files ignore case


# Registering ---------------------------------------------------------------------------------------------------------


def register(card: Card, thing: Any) -> None:
    """Adds a card and its object for this process; raises XaibenchError where the name is taken."""
    places = _places(card.kind)
    place = places.get(card.name)
    if isinstance(place, EntryPoint) and place.module == getattr(thing, "__module__", None):
        return  # a package's decorator, run because its entry point was loaded
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
