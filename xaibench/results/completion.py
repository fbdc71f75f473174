"""Which results are complete: a pure function of stored rows, result keys and a list of images."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Set
from pathlib import Path

from xaibench.results.maps import MapIndex, map_name
from xaibench.results.store import Store


def missing_images(keys: Iterable[str], images: Collection[str], done: Mapping[str, Set[str]]) -> dict[str, set[str]]:
    """The images of a list for which each result key has no rows; keys with all rows are left out.

    done: the images of which each key has rows.
    """
    every = set(images)
    return {key: lacking for key in keys if (lacking := every - done.get(key, frozenset()))}


class Completion:
    """The results that a folder has for some result keys, and those that are missing; `refresh` reads what other
    processes have added meanwhile.

    Files are written once, so each is read once. maps: those that are kept, under any key. keep: whether maps are
    results too, so that an image is done only with a map for each of its rows.
    """

    def __init__(
        self,
        store: Store,
        keys: Iterable[str],
        images: Iterable[str],
        maps: MapIndex | None = None,
        keep: bool = False,
    ):
        self.store, self.keys, self.images, self.maps, self.keep = store, list(keys), list(images), maps, keep
        self._seen: set[Path] = set()
        self._rows: dict[str, set[str]] = {key: set() for key in self.keys}
        self._targets: dict[str, dict[str, frozenset[int]]] = {key: {} for key in self.keys}
        self.refresh()

    def refresh(self) -> None:
        """Reads the files that have appeared since the last time."""
        new = [path for path in self.store.shards() if path not in self._seen]
        if new:
            for key, found in self.store.done(self.keys, new).items():
                self._rows[key] |= found
            for key, explained in self.store.explained(self.keys, new).items() if self.keep else ():
                self._targets[key] |= explained
        self._seen |= set(new)
        if self.maps:
            self.maps.refresh()

    def missing(self, images: Iterable[str] | None = None) -> dict[str, set[str]]:
        """The images of each key that lack rows or maps, of the whole list or of these; keys without any are left
        out."""
        wanted = self.images if images is None else list(images)
        rows, maps = self.without_rows(wanted), self.without_maps(wanted)
        return {key: rows.get(key, set()) | maps.get(key, set()) for key in self.keys if key in rows or key in maps}

    def claimed(self, keys: Iterable[str]) -> list[str]:
        """The keys that a process claims while it computes results of these: theirs, and those of maps that it keeps,
        so that no other makes the same ones meanwhile."""
        keys = list(keys)
        return list(dict.fromkeys([*keys, *(self.maps.keys[key] for key in keys if self.keep)]))

    def without_rows(self, images: Iterable[str]) -> dict[str, set[str]]:
        """The images of each key that lack rows."""
        return missing_images(self.keys, list(images), self._rows)

    def without_maps(self, images: Iterable[str]) -> dict[str, set[str]]:
        """The images of each key that have rows whose maps are to be kept and are not."""
        wanted, lacking = list(images), {}
        for key in self.keys if self.keep and self.maps else ():
            names = {map_name(i, t): i for i in wanted for t in self._targets[key].get(i, ())}
            if found := {names[name] for name in self.maps.lacks(key, names)}:
                lacking[key] = found
        return lacking
