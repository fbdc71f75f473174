"""What xaibench keeps on the disk besides rows: weights, downloads, masks, maps, and what killed processes left."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from xaibench import registry
from xaibench.cards import PublishedWeights
from xaibench.errors import XaibenchError
from xaibench.home import home
from xaibench.leftovers import DAY, abandoned
from xaibench.locks import is_held
from xaibench.models.download import address, stored_at
from xaibench.models.state import WEIGHTS_FILE, read_header
from xaibench.results.store import Store

AGAIN = {
    "models": "trained again by the same command; on a GPU with other weights, which have other keys",
    "downloads": "fetched again by --download",
    "masks": "made again by xaibench masks make",
    "maps": "computed again by the same run with --keep-maps; rows stay",
    "leftovers": "parts of files of processes that ended; nobody reads them",
}
"""Every kind that can be cleared, and how it comes back."""


@dataclass(frozen=True)
class Kept:
    """Something on the disk: its kind (of `AGAIN`, or `cards`), path and bytes, and what it belongs to.

    in_use: whether a process is making it or reads it right now. warning: what is lost with it, "" for nothing that
    cannot be made again.
    """

    kind: str
    path: Path
    size: int
    belongs: str
    in_use: bool = False
    warning: str = ""


def kept(out: Path) -> list[Kept]:
    """Everything under XAIBENCH_HOME, and of a results folder (which need not exist) the maps and leftovers."""
    return [*_models(), *_downloads(), *_masks(), *_maps(out), *_cards(), *_leftovers(out)]


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed."""
    files = [path] if path.is_file() else path.rglob("*")
    total = 0
    for file in files:
        with suppress(OSError):
            total += 0 if file.is_symlink() or file.is_dir() else file.stat().st_size
    return total


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink() and path.name[0] != ".")


def _models() -> Iterator[Kept]:
    named = _named_weights()
    for folder in _folders(home() / "models"):
        in_use, weights = is_held(folder, "training"), folder / WEIGHTS_FILE
        belongs, warning = "an unfinished training, which the same command resumes", ""
        if weights.is_file():
            try:
                header = read_header(weights)
                belongs = f"{header['model']} on {header['dataset']}"
            except (SafetensorError, OSError, ValueError, KeyError):
                belongs, warning = "weights without a record", "how they were made is not known"
        if name := named.get(weights.resolve()):
            belongs, warning = f"model {name}: {belongs}", f"the model {name} has no weights then"
        yield Kept("models", folder, size_of(folder), belongs, in_use, warning)


def _named_weights() -> dict[Path, str]:
    """The files of weights that cards under XAIBENCH_HOME name, with the names of their models."""
    found = {}
    for path in (home() / "cards" / "models").glob("*.toml"):
        with suppress(XaibenchError):
            plain = registry.card("model", path.stem).plain
            if plain and plain.is_local:
                found[(home() / plain.file).resolve()] = path.stem
    return found


def _downloads() -> Iterator[Kept]:
    folder = home() / "downloads"
    paths = sorted(path for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []
    known = _fetched(by_url=True)
    if any(path not in known for path in paths):
        known |= _fetched(by_url=False)  # imports torchvision
    for path in paths:
        names = sorted(file.name for file in path.iterdir() if file.name[0] != ".") if path.is_dir() else [path.name]
        owner = known.get(path, "no card of today")
        warning = "" if path in known else "nothing is known that fetches it again"
        yield Kept("downloads", path, size_of(path), f"{owner}: {', '.join(names[:1])}", warning=warning)


def _fetched(by_url: bool) -> dict[Path, str]:
    """The folders of published weights that are fetched, with the names of their models."""
    found: dict[Path, str] = {}
    for name in registry.names("model"):
        card = registry.card("model", name)
        for weights in filter(None, (card.plain, card.aligned)):
            if _is_fetched(weights) and bool(weights.url) == by_url:
                found.setdefault(stored_at(address(weights)[0]).parent, name)
    return found


def _is_fetched(weights: PublishedWeights) -> bool:
    return not weights.package and not weights.is_local and bool(weights.url or weights.enum)


def _masks() -> Iterator[Kept]:
    for data in _folders(home() / "masks"):
        for folder in _folders(data):
            yield Kept("masks", folder, size_of(folder), f"data set {data.name}", is_held(folder / "locks", "masks"))


def _maps(out: Path) -> Iterator[Kept]:
    folders = _folders(out / "maps")
    if not folders:
        return
    owners: dict[str, set[str]] = {}
    with suppress(XaibenchError):
        for key, cell in Store.open(out).cells().items():
            for name in (key, cell.maps):
                model = (cell.context.get("model") or {}).get("name", "")
                owners.setdefault(name or key, set()).add(f"{cell.method_name} on {model}")
    busy = is_computed(out)
    for folder in folders:
        owner = ", ".join(sorted(owners.get(folder.name, ()))) or "no stored result"
        yield Kept("maps", folder, size_of(folder), owner, busy)


def is_computed(out: Path) -> bool:
    """Whether any run is computing in a results folder right now."""
    locks = out / "locks"
    names = [path.stem for kind in ("run-*.lock", "claims-*.lock") for path in locks.glob(kind)]
    return any(is_held(locks, name) for name in names)


def _cards() -> Iterator[Kept]:
    for path in sorted((home() / "cards").rglob("*.toml")):
        yield Kept("cards", path, size_of(path), f"your own {path.parent.name}", warning="cannot be made again")


def _leftovers(out: Path) -> Iterator[Kept]:
    folders = [folder for top in (home(), out) if top.is_dir() for folder in _few_levels(top)]
    for folder in folders:
        for path in abandoned(folder):
            yield Kept("leftovers", path, size_of(path), "a process that ended")
    for path in sorted(Path(tempfile.gettempdir()).glob("xaibench-*")):
        with suppress(OSError):
            if path.is_dir() and not path.is_symlink() and time.time() - path.stat().st_mtime > DAY:
                yield Kept("leftovers", path, size_of(path), "a process that ended")


def _few_levels(top: Path) -> list[Path]:
    """A folder and those below it in which xaibench writes, none of them hidden."""
    first = _folders(top)
    second = [folder for parent in first for folder in _folders(parent)]
    return [top, *first, *second, *(folder for parent in second for folder in _folders(parent))]
