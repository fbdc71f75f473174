"""Cells, runs and image lists of a board folder: as in a results folder, without what is private."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from xaibench.errors import XaibenchError
from xaibench.files import write_json
from xaibench.publication.collect import Taken
from xaibench.publication.scrub import Scrubber, is_path, mapped, texts_of
from xaibench.results.cells import Cell
from xaibench.results.manifest import RunManifest
from xaibench.results.store import Store

RUNNING_TEXT = ("warnings", "skipped")  # fields of a record
PLACES = ("out", "address")  # fields of a request that name the author's own folder and machines, nothing to others


def scrubber_for(taken: Iterable[Taken], allowed: Sequence[str] = ()) -> Scrubber:
    """A scrubber that knows this machine and user, and those whose paths stand in the records of the runs."""
    runs = [run for one in taken for run in one.board.runs]
    texts = [text for run in runs for text in texts_of(dataclasses.asdict(run))]
    words = [word for run in runs for word in [*_words(run.command), *texts_of(run.config)]]
    words += [word.partition("=")[2] for word in words]
    known = Scrubber.of_this_machine(allowed).knowing_texts([*texts, *words], allowed)
    return known.knowing([], [word for word in words if is_path(word)], allowed)


def write_cell(cell: Cell, root: Path, scrubber: Scrubber) -> None:
    """Writes the file of a cell without what is private in its descriptions.

    Raises XaibenchError where what its key hashes is private: the key could not be checked without it.
    """
    clean = dataclasses.replace(
        cell, context=scrubber.value(cell.context), method=scrubber.value(cell.method) if cell.method else None
    )
    if clean.key != cell.key:
        hashed = next(text for text in texts_of([cell.context, cell.method]) if scrubber.word(text) != text)
        raise XaibenchError(
            f"cell {cell.key} ({scrubber.text(cell.title)}) cannot be published: its key hashes {hashed[:200]!r}, a "
            "path or a name of yours; run it again with a relative path or another name, or say --allow-name NAME"
        )
    write_json(root / "cells" / f"{cell.key}.json", cell_content(clean))


def cell_content(cell: Cell) -> dict[str, Any]:
    """What the file of a cell says."""
    content = {"key": cell.key, "board": cell.board, "registered": cell.registered,
               "context": cell.context, "method": cell.method}  # fmt: skip
    return content | ({"maps": cell.maps} if cell.maps else {})


def write_runs(taken: Sequence[Taken], root: Path, scrubber: Scrubber) -> None:
    """Writes the records of all runs of the boards, and their image lists; of their results those that are published.

    Of a run that several folders have, the record with the most results is taken: a board folder has those alone that
    it published.
    """
    cells = {cell.key for one in taken for cell in one.board.cells}
    boards = {one.board.key for one in taken}
    found = [(run, one.store) for one in taken for run in one.board.runs]
    fullest = {run.run: (run, store) for run, store in sorted(found, key=lambda pair: len(pair[0].cells))}
    for run, origin in fullest.values():
        _save_run(run, cells, boards, Store(root), scrubber)
        _save_list(run, origin, Store(root))


def _save_run(run: RunManifest, cells: set[str], boards: set[str], store: Store, scrubber: Scrubber) -> None:
    content = dataclasses.asdict(run)
    content["cells"] = [key for key in run.cells if key in cells]
    content["boards"] = [key for key in run.boards if key in boards]
    content["fitted"] = {key: values for key, values in run.fitted.items() if key in cells}
    content["config"] = {k: v for k, v in run.config.items() if k not in PLACES} if run.config is not None else None
    content = scrubber.value(content) | {name: mapped(content[name], scrubber.text) for name in RUNNING_TEXT}
    content["command"] = public_command(run.command, scrubber)
    content["whole"] = public_command(run.whole, scrubber) if run.whole else None
    RunManifest(**content).save(store)


def _save_list(run: RunManifest, origin: Store, store: Store) -> None:
    name = run.images.get("list")
    if name and not (store.root / "lists" / f"{name}.json").exists():
        store.save_list(origin.load_list(name))


def public_command(command: str, scrubber: Scrubber) -> str:
    """A recorded command without what is private, and without options that name places of its author (PLACES).

    >>> public_command("xaibench run sds --data-root '/home/ann/my photos' --out /tmp/x", Scrubber())
    'xaibench run sds --data-root PATH'
    >>> public_command("xaibench run sds --engine ray --address=10.0.0.1:6379", Scrubber())
    'xaibench run sds --engine ray'
    """
    words = _words(command)
    if words[:1] != ["xaibench"]:
        return scrubber.text(command)
    places = {f"--{name}" for name in PLACES}
    kept = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if before not in places and word.partition("=")[0] not in places
    ]
    return shlex.join(_public_word(word, scrubber) for word in kept)


def _public_word(word: str, scrubber: Scrubber) -> str:
    option, equals, value = word.partition("=")
    return f"{scrubber.text(option)}={scrubber.word(value)}" if equals else scrubber.word(word)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []


def check_names(texts: Iterable[Any], scrubber: Scrubber) -> None:
    """Raises XaibenchError where a text of the rows, such as the id of an image, is private: rows are never changed."""
    for text in texts:
        if scrubber.word(text) != text:
            raise XaibenchError(
                f"the rows hold {text[:200]!r}, a path or a name of yours, which their keys and lists rest on; name "
                "images by paths relative to the folder of the data, or say --allow-name NAME"
            )
