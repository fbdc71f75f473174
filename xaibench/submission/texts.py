"""Names of a submission with markup, or with characters that control a terminal or are not shown."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from xaibench.publication.scrub import texts_of
from xaibench.results.cells import Cell
from xaibench.results.manifest import RunManifest
from xaibench.results.parts import Parts
from xaibench.results.store import Store
from xaibench.results.validate import Problem

MARKUP = frozenset("<>`")
SENTENCES = ("command", "whole", "warnings", "skipped")  # of the record of a run
COLUMNS = ("image_id", "image_digest", "metric", "protocol", "dataset", "model", "reference_model", "method")


def text_problems(
    cells: Mapping[str, Cell], runs: Iterable[RunManifest], store: Store, rows: Parts
) -> Iterator[Problem]:
    """Of the cells, runs, image lists and rows of a store."""
    for key, cell in cells.items():
        parts = [cell.context, cell.method]
        if odd := _odd([*texts_of(parts), *keys_of(parts)], MARKUP):
            yield Problem(f"cells/{key}.json", "text", odd)
    for run in runs:
        names = {name: value for name, value in dataclasses.asdict(run).items() if name not in SENTENCES}
        if odd := _odd([*texts_of(names), *keys_of(names), *run.skipped], MARKUP):
            yield Problem(f"runs/{run.run}.json", "text", odd)
        if odd := _odd(texts_of([getattr(run, name) for name in SENTENCES]), frozenset()):
            yield Problem(f"runs/{run.run}.json", "text", odd)
    for path in sorted((store.root / "lists").glob("*.json")):
        if odd := _odd(store.load_list(path.stem), MARKUP):
            yield Problem(f"lists/{path.name}", "text", odd)
    found: dict[str, str] = {}  # by column
    for part in rows.read(COLUMNS):
        for name in COLUMNS:
            found[name] = found.get(name) or _odd(part[name].dropna().unique(), MARKUP)
    yield from (Problem("rows", "text", odd) for odd in found.values() if odd)


def keys_of(value: Any) -> Iterator[str]:
    """Every name in a plain value."""
    if isinstance(value, dict):
        yield from value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        yield from keys_of(item)


def _odd(texts: Iterable[str], markup: frozenset[str]) -> str:
    """Why one of these texts is refused; "" where none is."""
    for text in texts:
        if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") for letter in text):
            return f"{ascii(text)[:80]} has characters that control a terminal or are not shown"
        if markup & set(text):
            return f"{ascii(text)[:80]} has markup, which no name has"
    return ""
