"""Writes all files of one version of a board folder into an empty folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from xaibench import __version__
from xaibench.analysis.boards import fits
from xaibench.analysis.leaderboard import Leaderboard
from xaibench.analysis.stored import StoredResults
from xaibench.files import file_name, write_atomic, write_json
from xaibench.progress import bar
from xaibench.publication.card import card_text
from xaibench.publication.collect import Newest, Taken
from xaibench.publication.comparisons import Comparison, write_comparisons
from xaibench.publication.gallery import Shown, dataset_label, write_gallery
from xaibench.publication.index import (
    FILE,
    FORMAT,
    FORMAT_VERSION,
    BoardEntry,
    Index,
    VersionEntry,
    WithdrawnComparison,
    WithdrawnEntry,
)
from xaibench.publication.records import check_names, scrubber_for, write_cell, write_runs
from xaibench.publication.rows import rows_folder, texts_of_rows, write_cells, write_rows, write_scores
from xaibench.publication.submissions import Brought, replays_of, states, with_states, write_replays
from xaibench.publication.verify import verify
from xaibench.report.board_figure import board_figure
from xaibench.report.page import Bullets
from xaibench.report.pages import page_of
from xaibench.report.text import csv_value
from xaibench.results.cells import part_name
from xaibench.results.store import FOLDERS, Store

WITHOUT_SUBMISSIONS = 2  # the format of a folder that has none
TABLE = "leaderboard.csv"
CONTEXT = ("protocol", "model", "dataset", "metric", "higher_is_better", "board")
FOLDERS_OF_BOARDS = ("boards", "figures")


@dataclass(frozen=True)
class Contents:
    """What a version has besides its boards. allowed: names that may be published although they are the user's own.
    quiet: no progress."""

    title: str
    license: str
    version: int = 1
    versions: tuple[VersionEntry, ...] = ()
    withdrawn: tuple[WithdrawnEntry, ...] = ()
    withdrawn_comparisons: tuple[WithdrawnComparison, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    brought: Brought = field(default_factory=Brought)
    gallery: int = 8
    gallery_model: str | None = None
    data_root: Path | None = None
    allowed: tuple[str, ...] = ()
    quiet: bool = True


def build(taken: Sequence[Taken], about: Contents, root: Path, newest: Newest) -> tuple[Index, list[str]]:
    """Writes a board folder into an empty one: its index, and notes on what is not in it.

    The same boards give the same bytes. Raises XaibenchError where something private would be published.
    """
    scrubber = scrubber_for(taken, about.allowed)
    for folder in (*FOLDERS, *FOLDERS_OF_BOARDS):
        (root / folder).mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    for one in taken:
        for cell in one.board.cells:
            write_cell(cell, root, scrubber)
        rows = one.store.rows([cell.key for cell in one.board.cells])
        check_names([*texts_of_rows(rows), *one.images], scrubber)
        counts |= write_rows(one, rows, root)
    write_runs(taken, root, scrubber)
    lists = {one.board.key: Store(root).save_list(list(one.images)) for one in taken}
    with_maps = [one for one in taken if fits(part_name(one.board.context, "model"), about.gallery_model)]
    shown = write_gallery(with_maps, about.gallery, root, about.data_root)
    public = [replace(one, board=_public(one, root)) for one in taken]
    write_cells(public, counts, root)
    write_replays(about.brought, root)
    replays = list(replays_of(root, about.brought.entries).values())
    said = {one.board.key: states([cell.key for cell in one.board.cells], about.brought.entries, replays)
            for one in public}  # fmt: skip
    stored = StoredResults(Store(root), newest=newest)
    boards = []
    with bar("writing boards", len(public), about.quiet) as progress:
        for one in public:
            boards.append(_write_board(one, stored, lists[one.board.key], shown, about, said[one.board.key]))
            progress.advance()
    _write_table([board for board, _ in boards], root)
    write_scores([board for board, _ in boards], root)
    version_of_format = FORMAT_VERSION if about.brought.entries else WITHOUT_SUBMISSIONS
    index = Index.made(
        format=FORMAT, format_version=version_of_format, version=about.version, xaibench=__version__, title=about.title,
        license=about.license, boards=[entry for _, entry in boards],
        comparisons=write_comparisons(about.comparisons, root, scrubber), images=shown.photos,
        versions=list(about.versions), withdrawn=list(about.withdrawn),
        withdrawn_comparisons=list(about.withdrawn_comparisons), submissions=list(about.brought.entries),
    )  # fmt: skip
    write_index(index, root)
    verify(root, scrubber)
    return index, shown.notes


def write_index(index: Index, root: Path) -> None:
    """Writes `board.json` and the card, `README.md`."""
    left_out = None if index.submissions else {"submissions"}
    write_json(root / FILE, index.model_dump(mode="json", by_alias=True, exclude=left_out))
    write_atomic(root / "README.md", card_text(index, root).encode())


def _public(taken: Taken, root: Path) -> Any:
    """The board with its cells as they were written, without what is private in their descriptions."""
    cells = tuple(Store(root).cell(cell.key) for cell in taken.board.cells)
    return replace(taken.board, cells=cells, context=cells[0].context)


def _write_board(
    taken: Taken,
    stored: StoredResults,
    image_list: str,
    shown: Shown,
    about: Contents,
    said: Mapping[str, str],
) -> tuple[Leaderboard, BoardEntry]:
    """Writes a board into the folder that it is stored in, as CSV, JSON, Markdown and figure. said: what replays say of
    its results."""
    context, key = taken.board.context, taken.board.key
    board = next(one for one in stored.boards if one.key == key)
    root = stored.store_of(board).root
    names = {part: part_name(context, part) or "none" for part in ("protocol", "model", "dataset")}
    found = stored.open(board)
    table = with_states(found.table, taken.board.cells, said)
    found = replace(found, notes=(*found.notes, *_withdrawn_from(key, about.withdrawn)), table=table)
    page = page_of(found)
    page = replace(page, document=(*page.document, Bullets(found.notes)))
    name = "-".join([*(file_name(text) for text in names.values()), key])
    paths = {kind: f"boards/{name}.{suffix}" for kind, suffix in (("csv", "csv"), ("json", "json"), ("markdown", "md"))}
    for path, text in ((paths["csv"], page.to_csv()), (paths["json"], page.to_json()),
                       (paths["markdown"], page.to_markdown())):  # fmt: skip
        write_atomic(root / path, f"{text.rstrip()}\n".encode())
    figure = board_figure(found, root / "figures" / f"{name}.svg").relative_to(root).as_posix()
    entry = BoardEntry.made(
        key=key, protocol=names["protocol"], model=names["model"], dataset=dataset_label(context), title=found.title,
        age=found.age, metric=found.metric, higher_is_better=found.higher_is_better if found.has_direction else None,
        images=len(taken.images), image_list=image_list, cells=sorted(cell.key for cell in taken.board.cells),
        rows=rows_folder(context), gallery=list(shown.images.get(key, ())), figure=figure, **paths,
    )  # fmt: skip
    return found, entry


def _withdrawn_from(key: str, withdrawn: Sequence[WithdrawnEntry]) -> list[str]:
    return [f"withdrawn: {one.method}: {one.reason}" for one in withdrawn if one.board == key and one.method]


def _write_table(boards: Sequence[Leaderboard], root: Path) -> None:
    """Writes all boards as one CSV, each line with its board's protocol, model and data set."""
    frames = []
    for found in boards:
        context: Mapping[str, Any] = found.context
        about = {
            "protocol": part_name(context, "protocol") or None, "model": part_name(context, "model") or None,
            "dataset": dataset_label(context), "metric": found.metric,
            "higher_is_better": found.higher_is_better if found.has_direction else None, "board": found.board,
        }  # fmt: skip
        table = page_of(found).rows
        shown = [column.name for column in table.shown("csv")[0]]
        rows = pd.DataFrame([{**about, **{k: row[k] for k in shown}} for row in table.shown("csv")[1]])
        frames.append(rows)
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(CONTEXT))
    table = table.map(csv_value)
    write_atomic(root / TABLE, table.to_csv(index=False, lineterminator="\n").encode())
