"""The images of a submission: each result has rows for all of its list, and the list is the frozen one.

A data set has one order, by a hash of each id, and a list is the first images of it. So the order can be checked from
the list alone; that no image was left out only by the data set itself (drawn ones; photos by --data-root) or by the
list that a board has. What could not be compared is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.analysis.boards import boards
from xaibench.datasets.base import Dataset, hashed_order
from xaibench.evaluation.recorded import recorded_dataset
from xaibench.hashing import content_hash, digest
from xaibench.results.cells import Cell
from xaibench.results.manifest import RunManifest
from xaibench.results.parts import Parts
from xaibench.results.store import Store
from xaibench.results.validate import Problem


@dataclass
class FrozenLists:
    """What lists are compared with: the lists of a board, by board key and by data set, and the photos in data_root.

    notes: what could not be compared, a line each.
    """

    of_boards: dict[str, list[str]] = field(default_factory=dict)
    of_data: dict[str, list[str]] = field(default_factory=dict)
    data_root: Path | None = None
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, board: Store | None, data_root: Path | None) -> FrozenLists:
        """Those of a board, of which the longest of a data set counts for it."""
        found = cls(data_root=data_root)
        for one in boards(board) if board is not None else ():
            if listed := one.image_list(board):
                found.of_boards.setdefault(one.key, listed)
                key = _of_data(one.context)
                found.of_data[key] = max(found.of_data.get(key, []), listed, key=len)
        return found

    def problem(self, cell: Cell, name: str, listed: Sequence[str]) -> str:
        """Why a list is not the frozen one for a cell; "" where nothing speaks against it.

        Raises XaibenchError where the photos are not in data_root.
        """
        listed = list(listed)
        if listed != hashed_order(listed):
            return "it is not in the one order of its data set, so not its frozen list"
        own = self.of_boards.get(cell.board)
        if own is not None and listed != own:
            return f"the board has another list for this, of {len(own)} images: run exactly these (--images {len(own)})"
        known = self.of_data.get(_of_data(cell.context))
        if known is not None and listed[: len(known)] != known[: len(listed)]:
            return "it is not the list that the board has for this data set: images were left out, or added"
        data = self._dataset(cell.context)
        if data is not None:
            return _against_data(data, cell.context, listed)
        unknown = len(listed) - len(known or ())
        if unknown > 0:
            since = f"its last {unknown} images" if known else f"its {len(listed)} images"
            text = (
                f"lists/{name}.json: whether {since} of {cell.context['dataset']['name']} are the first of its order "
            )
            self.notes.append(f"{text}(they are in that order); name the photos by --data-root")
        return ""

    def _dataset(self, context: Mapping[str, Any]) -> Dataset | None:
        """The data set itself, where it is known."""
        needs_root = registry.card("dataset", context["dataset"]["name"]).needs_root
        return None if needs_root and self.data_root is None else recorded_dataset(dict(context), self.data_root)


def _of_data(context: Mapping[str, Any]) -> str:
    """What an image list is of: the data set of a context, without masks, which change no list."""
    return digest({key: value for key, value in context["dataset"].items() if key not in ("label", "masks")})


def _against_data(data: Dataset, context: Mapping[str, Any], listed: list[str]) -> str:
    """Why a list is not that of a data set; "" where it is."""
    classes = context["dataset"]["settings"].get("classes")
    if classes is not None and data.on_disk and classes != content_hash("\n".join(data.classes).encode()):
        return "its data set has other classes than the photos here"
    if len(listed) > len(data.ids) or data.image_list(len(listed)) != listed:
        return f"it is not the frozen list of its data set, the first {len(listed)} of {len(data.ids)}: run these"
    return ""


def coverage_problems(
    cells: Mapping[str, Cell], runs: Iterable[RunManifest], store: Store, rows: Parts, frozen: FrozenLists
) -> Iterator[Problem]:
    """Every result has a complete run, and rows for each image of the frozen list."""
    lists: dict[str, set[str]] = {}
    for run in runs:
        if not run.images.get("list"):
            continue
        if run.images.get("count") != len(store.load_list(run.images["list"])):
            yield Problem(f"runs/{run.run}.json", "list", "it counts other images than its list has")
        for key in run.cells:
            if key not in cells:
                yield Problem(f"runs/{run.run}.json", "run", f"it names the result {key}, which is not there")
            elif run.status == "complete":
                lists.setdefault(key, set()).add(run.images["list"])
    differences = _differences(rows, {key: next(iter(names)) for key, names in lists.items()}, store)
    seen: set[tuple[str, str]] = set()
    for key, cell in cells.items():
        if len(lists.get(key, ())) != 1:
            yield Problem(f"cells/{key}.json", "coverage", "it is of no complete run, or of several lists of images")
            continue
        (name,) = lists[key]
        listed = store.load_list(name)
        lacking, more = differences.get(key, (len(listed), 0))
        if lacking or more:
            text = f"it lacks {lacking} images of its list, and has {more} others"
            yield Problem(f"cells/{key}.json", "coverage", text)
        if (name, cell.board) not in seen:
            seen.add((name, cell.board))
            if text := frozen.problem(cell, name, listed):
                yield Problem(f"lists/{name}.json", "list", text)


def _differences(rows: Parts, names: Mapping[str, str], store: Store) -> dict[str, tuple[int, int]]:
    """Of each result with rows how many images of its list it lacks, and how many others it has.

    names: of each result that has a list its name.
    """
    lists = {name: set(store.load_list(name)) for name in set(names.values())}
    found = {}
    for part in rows.read(["cell", "image_id"]):
        for key, images in part.groupby("cell")["image_id"]:
            stored, listed = set(images), lists.get(names.get(key, ""), set())
            found[key] = len(listed - stored), len(stored - listed)
    return found
