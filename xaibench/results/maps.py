"""Attribution maps that a run with `--keep-maps` stores: `maps/<map key>/<batch>.safetensors`.

A map key hashes what maps depend on (`Cell.map_key`), so all protocols that explain the same images share it; the file
of each cell names its map key. What earlier versions kept lies under the key of the cell, and is read there too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from xaibench.errors import XaibenchError, one_line
from xaibench.files import check_folder, check_regular, make_folder, write_atomic
from xaibench.hashing import content_hash
from xaibench.results.map_bytes import map_bytes
from xaibench.results.store import Store

FLOATS = {"F64", "F32", "F16", "BF16"}  # as safetensors calls them
LARGEST = 1 << 14  # pixels of a side
SEPARATOR = "#"  # between image id and target in the names of tensors


def map_name(image_id: str, target: int) -> str:
    """The name of the map of a pair."""
    return f"{image_id}{SEPARATOR}{target}"


class MapStore:
    """Maps (H, W) in the precision in which they were computed, named `<image id>#<target>` inside safetensors files of
    one batch."""

    def __init__(self, root: Path):
        self.root, self._results = root / "maps", Store(root)
        self._made: set[str] = set()

    def save(
        self, key: str, image_ids: Sequence[str], targets: Tensor, maps: Tensor, digests: Sequence[str] | None = None
    ) -> Path:
        """Stores maps (P, 1, H, W) under a map key, one file for the batch, completely or not at all.

        digests: the digest of each pair's image; without them the maps are shown, and not scored again.
        """
        names = [map_name(i, t) for i, t in zip(image_ids, targets.tolist(), strict=True)]
        tensors = {name: m[0].detach().cpu().contiguous() for name, m in zip(names, maps, strict=True)}
        images = zip(names, digests or [], strict=False)
        sums = {name: f"{image} {_digest(key, name, image, tensors[name])}" for name, image in images}
        batch = hashlib.blake2b("\n".join(names).encode(), digest_size=8).hexdigest()
        folder = self.root / key
        if key not in self._made:
            check_folder(folder)
            make_folder(folder)
            self._made.add(key)
        write_atomic(folder / f"{batch}.safetensors", map_bytes(tensors, sums))
        return folder / f"{batch}.safetensors"

    def files(self, key: str) -> list[Path]:
        """The files with maps of a cell, or under a map key."""
        return [path for name in self.folders(key) for path in sorted((self.root / name).glob("*.safetensors"))]

    def folders(self, key: str) -> list[str]:
        """The names of the folders in which maps of a cell may be: its map key, and its own key."""
        own = self._results.cell(key).maps if self._results.has_cell(key) else None
        return list(dict.fromkeys([own or key, key]))

    def load(self, key: str, image_id: str) -> dict[int, Tensor]:
        """The maps (H, W) of an image, by target; empty where none are kept."""
        return self.find(key, [image_id]).get(image_id, {})

    def all_files(self) -> list[Path]:
        """All files with maps, of every key."""
        return sorted(self.root.glob("*/*.safetensors"))

    def find(
        self, key: str, image_ids: Iterable[str], damaged: list[Path] | None = None
    ) -> dict[str, dict[int, Tensor]]:
        """The maps (H, W) of several images, by image id and target, with each file opened once.

        Images without a kept map are not in it, nor are those whose maps are damaged; the files of the latter are added
        to `damaged`.
        """
        wanted, damaged = set(image_ids), [] if damaged is None else damaged
        found: dict[str, dict[int, Tensor]] = {}
        for path in self.files(key):
            for name, sums in contents(path, damaged):
                owner, _, target = name.rpartition(SEPARATOR)
                if owner in wanted and int(target) not in found.get(owner, {}):
                    values = read_map(path, name, sums)
                    if values is not None:
                        found.setdefault(owner, {})[int(target)] = values
                    else:
                        damaged.append(path)
        return found


def contents(path: Path, damaged: list[Path]) -> Iterator[tuple[str, str]]:
    """The names of the maps in a file, each with the digests of its image and its values ("" where it has none).

    A file that cannot be read, or in which anything is no map (see `faults`; values are not read), has none, and is
    added to `damaged`.
    """
    found: list[tuple[str, str]] = []
    if next(_look(path, found), None):
        damaged.append(path)
    else:
        yield from found


def faults(path: Path) -> Iterator[str]:
    """What is wrong with a file of maps, each in one line: it cannot be read, a name is none of a pair, something is no
    map (H, W) of floating point, or its values are not those that were stored."""
    found: list[tuple[str, str]] = []
    yield from _look(path, found)
    for name, sums in found:
        if read_map(path, name, sums) is None:
            yield f"the values of {name} are not those that were stored"


def _look(path: Path, found: list[tuple[str, str]]) -> Iterator[str]:
    """As `faults`, without reading values; names of maps and their digests are added to `found`."""
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            sums = file.metadata() or {}
            kinds = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
            shapes = {name: (part.get_dtype(), part.get_shape()) for name, part in kinds.items()}
    except (SafetensorError, OSError, XaibenchError) as error:
        yield f"it cannot be read ({one_line(error)})"
        return
    for name, (kind, shape) in shapes.items():
        target = name.rpartition(SEPARATOR)[2]
        words = sums.get(name, "").split()
        if SEPARATOR not in name or not target.isascii() or not target.isdecimal() or len(target) > 9:
            yield f"{name} names no image and class"
        elif kind not in FLOATS or len(shape) != 2 or not all(0 < side <= LARGEST for side in shape):
            yield f"{name} is no map: {kind} of {shape}"
        elif len(words) not in (0, 2):
            yield f"the digests of {name} are damaged"
        else:
            found.append((name, " ".join(words)))


def read_map(path: Path, name: str, sums: str) -> Tensor | None:
    """A map (H, W); None where the file is damaged, or no longer there."""
    try:
        with safe_open(path, framework="pt") as file:
            values = file.get_tensor(name)
    except (SafetensorError, OSError):
        return None
    image, found = sums.split() if sums else ("", "")
    return values if not sums or _digest(path.parent.name, name, image, values) == found else None


def _digest(key: str, name: str, image: str, values: Tensor) -> str:
    """Of the values and of what they belong to: a map that lies under the key of another method, or has the name of
    another pair, or another shape, is none that was stored there."""
    what = f"{key} {name} {image} {values.dtype} {tuple(values.shape)}\n"
    return content_hash(what.encode() + values.contiguous().view(torch.uint8).numpy().tobytes())


@dataclass
class MapIndex:
    """The maps that a folder keeps for some cells: names and files are remembered, values are read on demand.

    keys: the map key of each cell. damaged: files that could not be read, whose maps count as missing.
    """

    store: MapStore
    keys: Mapping[str, str]
    damaged: list[Path] = field(default_factory=list)
    _found: dict[str, dict[str, tuple[Path, str]]] = field(default_factory=dict)  # by folder and name of the map
    _seen: set[Path] = field(default_factory=set)
    _whole: set[tuple[Path, str]] = field(default_factory=set)

    def refresh(self) -> None:
        """Reads the names in files that have appeared since the last time; each file is opened once."""
        for key in dict.fromkeys([*self.keys.values(), *self.keys]):
            found = self._found.setdefault(key, {})
            for path in sorted((self.store.root / key).glob("*.safetensors")):
                if path not in self._seen:
                    found |= {name: (path, sums) for name, sums in contents(path, self.damaged)}
                    self._seen.add(path)

    def images(self, key: str) -> set[str]:
        """The images of which any map is kept under a map key."""
        return {name.rpartition(SEPARATOR)[0] for name in self._found.get(key, ())}

    def lacks(self, cell: str, names: Iterable[str]) -> list[str]:
        """Those names of maps of which a cell has none; values are compared with their digests, each once."""
        keys = (self.keys[cell], cell)
        return [name for name in names if not any(self._is_whole(key, name) for key in keys)]

    def _is_whole(self, key: str, name: str) -> bool:
        path, sums = self._found.get(key, {}).get(name, (None, ""))
        if path is None or (path, name) in self._whole:
            return path is not None
        if read_map(path, name, sums) is None:
            self._drop(key, name, path)
            return False
        self._whole.add((path, name))
        return True

    def _drop(self, key: str, name: str, path: Path) -> None:
        del self._found[key][name]
        if path not in self.damaged:
            self.damaged.append(path)

    def load(self, key: str, digests: Mapping[str, str]) -> dict[str, Tensor]:
        """The maps (H, W) under a map key of those names that have one; digests: that of the image, by name.

        Raises XaibenchError where a map is of another image with the same id.
        """
        maps: dict[str, Tensor] = {}
        for name, image in digests.items():
            path, sums = self._found.get(key, {}).get(name, (None, ""))
            if not sums:
                continue
            values = read_map(path, name, sums)
            if values is None:
                self._drop(key, name, path)
                continue
            if sums.split()[0] != image:
                raise XaibenchError(
                    f"image {name.rpartition(SEPARATOR)[0]} has changed since its maps were kept in {path.parent}; "
                    "restore it, or use another --out"
                )
            maps[name] = values
        return maps

    def save(self, key: str, image_ids: Sequence[str], targets: Tensor, maps: Tensor, digests: Sequence[str]) -> None:
        """Stores maps as `MapStore.save` does, and knows them from then on."""
        path = self.store.save(key, image_ids, targets, maps, digests)
        self._seen.add(path)
        stored = {name: (path, sums) for name, sums in contents(path, self.damaged)}
        self._found.setdefault(key, {}).update(stored)
        self._whole |= {(path, name) for name in stored}
