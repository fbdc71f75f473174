"""How far stored work is, and the commands that finish it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xaibench.results.completion import missing_images
from xaibench.results.manifest import RunManifest, finish_command, load_runs
from xaibench.results.store import Store

Missing = dict[str, set[str]]  # cell key to image ids


@dataclass(frozen=True)
class Progress:
    """One run: `done` of `planned` (cell, image) pairs are stored; `missing` are the others."""

    run: RunManifest
    planned: int
    missing: Missing

    @property
    def done(self) -> int:
        """Stored (cell, image) pairs of the run."""
        return self.planned - sum(map(len, self.missing.values()))

    @property
    def state(self) -> str:
        """The run's status; `finished` where it did not come to its end and a later run computed the rest."""
        ended = self.run.status in ("complete", "running")
        return self.run.status if self.missing or ended or not self.planned else f"{self.run.status}, finished later"


def progress(store: Store) -> list[Progress]:
    """All runs of a store, oldest first, each with what it still lacks."""
    runs = load_runs(store)
    lists = {name: set(store.load_list(name)) for run in runs if (name := run.images.get("list"))}
    # run by run: the ids of all images of all cells may be more than fit into memory
    return [_progress(run, lists.get(run.images.get("list"), set()), store.done(set(run.cells))) for run in runs]


def finish_commands(runs: Sequence[Progress], root: Path) -> list[str]:
    """The fewest commands that compute all that is missing in the folder `root`, oldest first.

    Of equal commands the newest run counts, since the same command today may mean other cells (an edited plug-in). A
    run whose missing work is part of another's needs no command of its own. Rows in TF32 that say float32 are never
    completed.
    """
    newest = {finish_command(item.run, root): item for item in runs}
    open_runs = [item for item in newest.values() if item.missing and not item.run.is_tf32_as_float32]
    needed: list[Progress] = []
    for item in sorted(open_runs, key=lambda item: (sum(map(len, item.missing.values())), item.run.started)):
        needed = [smaller for smaller in needed if not _within(smaller.missing, item.missing)] + [item]
    needed.sort(key=lambda item: (item.run.started, item.run.run))
    return [finish_command(item.run, root) for item in needed]


def _progress(run: RunManifest, images: set[str], done: Mapping[str, set[str]]) -> Progress:
    return Progress(run, len(run.cells) * len(images), missing_images(run.cells, images, done))


def _within(part: Missing, whole: Missing) -> bool:
    return all(images <= whole.get(key, set()) for key, images in part.items())
