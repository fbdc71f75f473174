"""Comparisons of designs in a board folder: what `xaibench compare --format json` printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaibench.errors import XaibenchError
from xaibench.files import file_name, read_json, write_json
from xaibench.hashing import content_hash, digest
from xaibench.publication.index import ComparisonEntry, Index, WithdrawnComparison
from xaibench.publication.scrub import Scrubber

LIMIT = 64 << 20  # bytes


@dataclass(frozen=True)
class Comparison:
    """One comparison: its name and title, and the JSON that the command printed."""

    name: str
    title: str
    content: dict[str, Any]


def read_comparisons(path: Path) -> list[Comparison]:
    """The comparisons in a file: one, or a list with one for each protocol. Raises XaibenchError where it has none."""
    content = read_json(path, LIMIT)
    every = content if isinstance(content, list) and content else [content]
    if not all(_is_comparison(one) for one in every):
        raise XaibenchError(f"{path} is no comparison; make it with `xaibench compare NAME --format json > FILE.json`")
    return [Comparison(one["comparison"], one["title"], one) for one in every]


def read_all(paths: Sequence[Path]) -> list[Comparison]:
    """The comparisons in some files. Raises XaibenchError where two that differ have one title."""
    found: dict[str, tuple[Path, Comparison]] = {}
    for path in paths:
        for one in read_comparisons(path):
            before, same = found.setdefault(one.title, (path, one))
            if same.content != one.content:
                raise XaibenchError(f"{before} and {path} are two comparisons of one title, {one.title!r}; give one")
    return [one for _, one in found.values()]


def _is_comparison(content: Any) -> bool:
    return isinstance(content, dict) and all(
        isinstance(content.get(name), str) and content[name] for name in ("comparison", "title")
    )


def published_comparisons(root: Path, index: Index) -> list[Comparison]:
    """The comparisons of a board folder."""
    return [Comparison(one.name, one.title, read_json(root / one.json_, LIMIT)) for one in index.comparisons]


def withdrawn_comparison(one: Comparison, reason: str, last: int) -> WithdrawnComparison:
    """The entry of a published comparison that is withdrawn after version `last`."""
    return WithdrawnComparison.made(
        name=one.name, title=one.title, content=digest(one.content), reason=reason, last=last
    )


def not_withdrawn(
    given: Sequence[Comparison], withdrawn: Sequence[WithdrawnComparison], scrubber: Scrubber
) -> tuple[list[Comparison], list[str]]:
    """Those comparisons of which none that was withdrawn says the same, and notes on the others."""
    gone = {one.content for one in withdrawn}
    left = [one for one in given if digest(scrubber.value(one.content)) not in gone]
    return left, [f"left out: {one.title}, which was withdrawn" for one in given if one not in left]


def write_comparisons(comparisons: Sequence[Comparison], root: Path, scrubber: Scrubber) -> list[ComparisonEntry]:
    """Writes comparisons, without what is private in them; their entries, ordered by title."""
    entries: list[ComparisonEntry] = []
    taken: set[str] = set()
    for one in sorted(comparisons, key=lambda one: (one.title, one.name)):
        name = file_name(one.title)
        if name.lower() in taken:  # titles that differ in what names of files cannot hold
            name = f"{name}-{content_hash(one.title.encode())[:6]}"
        taken.add(name.lower())
        path = f"comparisons/{name}.json"
        (root / "comparisons").mkdir(exist_ok=True)
        write_json(root / path, scrubber.value(one.content))
        entries.append(ComparisonEntry.made(name=scrubber.text(one.name), title=scrubber.text(one.title), json=path))
    return entries
