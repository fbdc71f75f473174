"""What a board asks of a submission before anything of it is computed: all of it is read, nothing of it is run."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd

from xaibench import registry
from xaibench.cards import DatasetCard
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError, one_line
from xaibench.evaluation.recorded import recorded_options
from xaibench.publication.scrub import texts_of
from xaibench.results.cells import Cell, part_name
from xaibench.results.equality import scores_equal
from xaibench.results.manifest import RunManifest, load_runs
from xaibench.results.schema import IDENTITY
from xaibench.results.shard_files import shard_batches
from xaibench.results.store import Store
from xaibench.results.validate import Problem, inspect
from xaibench.submission.manifest import Submission, read_submission
from xaibench.submission.source import check_inside, made_by, needed_files

ROLES = ("method", "variant", "control", "oracle")
MARKUP = frozenset("<>`")


@dataclass(frozen=True)
class Checked:
    """A submission that was read: what it says of itself, and every problem; none lets it be replayed and published."""

    submission: Submission
    problems: list[Problem]
    rows: int
    cells: int


def check(root: Path, board: Path | None = None) -> Checked:
    """Checks an unpacked submission (`archive.unpacked`); board: a board folder whose results it must not change.

    Raises XaibenchError where it cannot be read as one.
    """
    submission = read_submission(root)
    found = inspect(root)
    if found.problems:
        return Checked(submission, found.problems, found.rows, found.cells)
    try:
        problems = list(_problems(Store.open(root), submission, board))
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        problems = [Problem("cells", "cell", f"a part of it is not what xaibench writes ({one_line(error)})")]
    return Checked(submission, problems, found.rows, found.cells)


def _problems(store: Store, submission: Submission, board: Path | None) -> Iterator[Problem]:
    cells, runs = store.cells(), load_runs(store)
    rows = store.rows()
    yield from _texts(cells, runs, store, rows)
    if not cells or rows.empty or not runs:
        yield Problem("rows", "coverage", "it has no results, or no record of a run")
        return
    for key, cell in cells.items():
        for text in (*_context(cell), *_method(cell, submission)):
            yield Problem(f"cells/{key}.json", "cell", text)
    yield from _sources(store.root, submission, cells)
    yield from _coverage(cells, runs, store, rows)
    yield from _rows(cells, rows, store)
    if board is not None:
        yield from _of_others(cells, rows, Store.open(board))


def _texts(
    cells: Mapping[str, Cell], runs: Iterable[RunManifest], store: Store, rows: pd.DataFrame
) -> Iterator[Problem]:
    """Names with markup or with characters that are not shown."""
    for key, cell in cells.items():
        if odd := _odd(texts_of([cell.context, cell.method]), MARKUP):
            yield Problem(f"cells/{key}.json", "text", odd)
    for run in runs:
        if odd := _odd(texts_of([run.protocols, run.classes, run.config, list(run.skipped)]), MARKUP):
            yield Problem(f"runs/{run.run}.json", "text", odd)
        if odd := _odd(texts_of([run.command, run.warnings, run.skipped]), frozenset()):
            yield Problem(f"runs/{run.run}.json", "text", odd)
    for path in sorted((store.root / "lists").glob("*.json")):
        if odd := _odd(store.load_list(path.stem), MARKUP):
            yield Problem(f"lists/{path.name}", "text", odd)
    for name in ("image_id", "image_digest", "metric", "protocol", "dataset", "model", "reference_model", "method"):
        if odd := _odd(rows[name].dropna().unique(), MARKUP):
            yield Problem("rows", "text", odd)


def _odd(texts: Iterable[str], markup: frozenset[str]) -> str:
    """Why one of these texts is refused; "" where none is."""
    for text in texts:
        if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") for letter in text):
            return f"{ascii(text)[:80]} has characters that control a terminal or are not shown"
        if markup & set(text):
            return f"{ascii(text)[:80]} has markup, which no name has"
    return ""


def _context(cell: Cell) -> Iterator[str]:
    """Against cards of this xaibench: versions, the declaration of the metric, the geometry of images."""
    context = cell.context
    for kind in ("protocol", "dataset", "model"):
        part, name = context.get(kind) or {}, part_name(context, kind)
        newest = registry.shipped_version(kind, name)
        if newest is None:
            yield f"its {kind} {ascii(name)[:60]} is none of xaibench; a submission brings methods alone"
            return
        if part.get("version", 1) != newest or part.get("source"):
            yield f"its {kind} {name} has version {part.get('version', 1)} or code of its own, not version {newest}"
    protocol, card = context["protocol"], registry.card("protocol", context["protocol"]["name"])
    declared = {"metric": card.metric, "range": list(card.range), "higher_is_better": card.higher_is_better,
                "undefined_cost": card.undefined_cost}  # fmt: skip
    if wrong := [name for name, value in declared.items() if protocol.get(name) != value]:
        yield f"its protocol declares another {wrong[0]} than the card of {card.name}"
    further = {name: one.model_dump(mode="json") for name, one in card.further.items()}
    if (protocol.get("further") or {}) != further:
        yield f"its protocol declares other further metrics than the card of {card.name}"
    if unknown := set(protocol.get("settings") or {}) - set(card.parameters):
        yield f"its protocol has a setting {ascii(min(unknown))[:60]}, which {card.name} has not"
    data: DatasetCard = registry.card("dataset", context["dataset"]["name"])
    if context["dataset"].get("geometry") != data.geometry.key_fields:
        yield f"its images are not of the size of {data.name} ({data.geometry}): a board has one geometry"
    if unknown := set(context["dataset"].get("settings") or {}) - set(data.parameters) - {"classes"}:
        yield f"its data set has a setting {ascii(min(unknown))[:60]}, which {data.name} has not"


def _method(cell: Cell, submission: Submission) -> Iterator[str]:
    """That a method is one of xaibench, in its version and its role, or one that the submission brings."""
    part = cell.method
    if part is None or part.get("name") in submission.methods:
        if part is not None and cell.kind not in ("method", "variant"):
            yield f"its method is a {ascii(cell.kind)[:40]}; what is submitted is ranked"
        if part is not None and part.get("label", part["name"]).split(" ")[0].split("@")[0] != part["name"]:
            yield f"its method {part['name']} is labelled {ascii(part['label'])[:60]}"
        return
    name = str(part.get("name"))
    newest = registry.shipped_version("method", name)
    if newest is None:
        yield f"its method {ascii(name)[:60]} is neither one of xaibench nor of the submission"
        return
    card = registry.card("method", name)
    if part.get("version") != newest or part.get("source"):
        yield f"its method {name} has version {part.get('version')} or code of its own, not version {newest}"
    if part.get("transform", card.transform) != card.transform:
        yield f"its method {name} has another transform than its card"
    if unknown := set(part.get("parameters") or {}) - set(card.parameters) - {"layer"}:
        yield f"its method {name} has a parameter {ascii(min(unknown))[:60]}, which its card has not"
    if cell.kind not in ROLES or (cell.kind != "oracle" and cell.kind != card.role):
        yield f"its method {name} is a {card.role}, not a {ascii(cell.kind)[:40]}"


def _sources(root: Path, submission: Submission, cells: Mapping[str, Cell]) -> Iterator[Problem]:
    """That the code which is there made the keys of the methods that the submission brings."""
    parts = {cell.method["name"]: cell.method for cell in cells.values() if cell.method}
    try:
        check_inside(root / "source", root / submission.card)
        made = made_by(root / submission.card, parts)
    except (XaibenchError, OSError) as error:
        yield Problem(submission.card, "source", one_line(error).replace(f"{root}/", ""))
        return
    listed = {name for name in submission.files if name.startswith("source/")}
    if extra := sorted(listed - {f"source/{name}" for name in needed_files(root / "source", submission.card)}):
        yield Problem(extra[0], "source", "the card of the methods has no use for it; pack it again")
    if shipped := [name for name in submission.methods if registry.shipped_version("method", name) is not None]:
        yield Problem("submission.json", "source", f"{shipped[0]} is a method of xaibench, which nobody submits")
    if set(made) != set(submission.methods):
        odd = sorted(set(made) ^ set(submission.methods))[0]
        yield Problem(submission.card, "source", f"it is not the code that made the results of {odd}, by their keys")


def _coverage(
    cells: Mapping[str, Cell], runs: Iterable[RunManifest], store: Store, rows: pd.DataFrame
) -> Iterator[Problem]:
    """Every result has a complete run, and rows for each image of the frozen list."""
    images: dict[str, set[str]] = {}
    lists: dict[str, set[str]] = {}
    for run in runs:
        if not run.images.get("list"):
            continue
        listed = store.load_list(run.images["list"])
        if run.images.get("count") != len(listed):
            yield Problem(f"runs/{run.run}.json", "list", "it counts other images than its list has")
        for key in run.cells:
            if key not in cells:
                yield Problem(f"runs/{run.run}.json", "run", f"it names the result {key}, which is not there")
            elif run.status == "complete":
                images.setdefault(key, set()).update(listed)
                lists.setdefault(key, set()).add(run.images["list"])
    stored = rows.groupby("cell")["image_id"].agg(set).to_dict()
    frozen: dict[str, bool] = {}
    for key, cell in cells.items():
        if len(lists.get(key, ())) != 1:
            yield Problem(f"cells/{key}.json", "coverage", "it is of no complete run, or of several lists of images")
            continue
        lacking, more = images[key] - stored.get(key, set()), stored.get(key, set()) - images[key]
        if lacking or more:
            text = f"it lacks {len(lacking)} images of its list, and has {len(more)} others"
            yield Problem(f"cells/{key}.json", "coverage", text)
        name = min(lists[key])
        known = f"{name} {cell.context['dataset']}"
        if known not in frozen:
            frozen[known] = _is_frozen(cell, store.load_list(name))
        if not frozen[known]:
            yield Problem(f"lists/{name}.json", "list", "it is not the frozen list of its data set")


def _is_frozen(cell: Cell, listed: list[str]) -> bool:
    """Whether a list of images is the one of its data set for that many, where no photo is needed to know it."""
    card: DatasetCard = registry.card("dataset", cell.context["dataset"]["name"])
    if card.needs_root:
        return True
    data = open_dataset(card, None, recorded_options(card, cell.context))
    return len(listed) <= len(data.ids) and list(data.image_list(len(listed))) == listed


def _rows(cells: Mapping[str, Cell], rows: pd.DataFrame, store: Store) -> Iterator[Problem]:
    """Readable names of rows are those of their keys; metrics are declared; each file has the rows of its name."""
    for path in store.shards():
        if {key for batch in shard_batches(path) for key in batch["cell"].unique().to_pylist()} - {path.stem}:
            yield Problem(path.relative_to(store.root).as_posix(), "row", "it has rows of another result than its name")
    for key, own in rows.groupby("cell"):
        cell = cells[key]
        names = {part: part_name(cell.context, part) for part in ("protocol", "dataset", "model")}
        names |= {"method": cell.method_name if cell.method else None}
        for column, name in names.items():
            if (wrong := set(own[column].where(own[column].notna(), None)) - {name}) and not (
                column == "method" and cell.method and wrong == {cell.method["name"]}
            ):
                yield Problem(f"cells/{key}.json", "row", f"its rows name another {column} than its key")
        declared = [cell.context["protocol"]["metric"], *(cell.context["protocol"].get("further") or {})]
        if odd := [m for m in own["metric"].unique() if not any(fnmatchcase(m, one) for one in declared)]:
            yield Problem(
                f"cells/{key}.json", "row", f"its rows have a metric {ascii(odd[0])[:60]} that is not declared"
            )
    models = rows["cell"].map({key: repr(_of_model(cell)) for key, cell in cells.items()})
    said = rows.assign(of=models).groupby(["of", "image_id"])[["prediction", "label"]].nunique(dropna=False)
    if (several := said[(said > 1).any(axis=1)]).size:
        image = several.index[0][1]
        yield Problem("rows", "row", f"image {ascii(image)[:80]} has several labels or predictions of one model")


def _of_model(cell: Cell) -> list[Any]:
    return [cell.context.get(part) for part in ("model", "weights", "dataset", "precision")]


def _of_others(cells: Mapping[str, Cell], rows: pd.DataFrame, board: Store) -> Iterator[Problem]:
    """Results that the board has already, which nobody may change."""
    known = board.rows([key for key in cells if board.has_cell(key)])
    both = rows.merge(known, on=list(IDENTITY), suffixes=("", "_known"))
    both = both[both["unit"] != "instance"]
    equal = scores_equal(both["score"], both["score_known"], metric=both["metric"])
    same = (
        equal
        & (both["status"] == both["status_known"]).to_numpy()
        & (both["image_digest"] == both["image_digest_known"]).to_numpy()
    )
    for key in both.loc[~same, "cell"].unique():
        text = "the board has other scores under this key: the results of others are not replaced"
        yield Problem(f"cells/{key}.json", "key", text)
