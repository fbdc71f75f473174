"""Which results are complete: a pure function of stored rows, result keys and a list of images."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Set
from pathlib import Path

from xaibench.results.maps import MapStore
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

    Files are written once, so each is read once. maps: where maps are kept too, an image is done only with its maps.
    """

    def __init__(self, store: Store, keys: Iterable[str], images: Iterable[str], maps: MapStore | None = None):
        self.store, self.keys, self.images, self.maps = store, list(keys), list(images), maps
        self._seen: set[Path] = set()
        self._rows: dict[str, set[str]] = {key: set() for key in self.keys}
        self._maps: dict[str, set[str]] = {key: set() for key in self.keys}
        self.refresh()

    def refresh(self) -> None:
        """Reads the files that have appeared since the last time."""
        new = [path for path in self.store.shards() if path not in self._seen]
        if new:
            for key, found in self.store.done(self.keys, new).items():
                self._rows[key] |= found
        self._seen |= set(new)
        for key in self.keys if self.maps else ():
            files = [path for path in self.maps.files(key) if path not in self._seen]
            self._maps[key] |= {image for path in files for image in self.maps.images(path)}
            self._seen |= set(files)

    def missing(self, images: Iterable[str] | None = None) -> dict[str, set[str]]:
        """The missing images of each key, of the whole list or of these; keys without missing images are left out."""
        done = {key: self._rows[key] & self._maps[key] for key in self.keys} if self.maps else self._rows
        return missing_images(self.keys, self.images if images is None else list(images), done)
