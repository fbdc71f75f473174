"""What a site shows, read once from a board folder: boards (also across models), runs, methods, addresses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from xaibench import registry
from xaibench.analysis.across_models import AcrossModels, across_models
from xaibench.analysis.agreement import Agreement
from xaibench.analysis.alike import agreement_of_boards
from xaibench.analysis.boards import Board, short_key
from xaibench.analysis.leaderboard import Leaderboard
from xaibench.analysis.stored import StoredResults
from xaibench.errors import XaibenchError
from xaibench.files import file_name
from xaibench.publication.index import is_board_folder, read_index
from xaibench.publication.submissions import replay_path, states, with_states
from xaibench.results.cells import Cell, part_name
from xaibench.results.manifest import RunManifest, load_runs
from xaibench.results.replays import Replay, read_replay
from xaibench.results.store import Store
from xaibench.results.validate import Problem
from xaibench.site.links import slugs
from xaibench.site.shipped import is_comparable
from xaibench.submission.record import replay_problems


@dataclass(frozen=True)
class SiteBoard:
    """A board with its leaderboard, and the part of addresses that is its own."""

    slug: str
    board: Board
    found: Leaderboard

    @property
    def protocol(self) -> str:
        """The name of its protocol."""
        return self._name("protocol")

    @property
    def model(self) -> str:
        """The name of the explained model."""
        return self._name("model")

    @property
    def dataset(self) -> str:
        """The name of its data set."""
        return self._name("dataset")

    @property
    def address(self) -> str:
        """Of its page, from the site's folder."""
        return f"boards/{self.slug}.html"

    def _name(self, part: str) -> str:
        return part_name(self.board.context, part)


@dataclass(frozen=True)
class SiteAcross:
    """Boards of several models as one; members: the board of each model, by the name that it has there."""

    slug: str
    found: AcrossModels
    members: dict[str, SiteBoard]

    @property
    def protocol(self) -> str:
        """The name of its protocol."""
        return self.found.context["protocol"]["name"]

    @property
    def address(self) -> str:
        """Of its page, from the site's folder."""
        return f"across/{self.slug}.html"


MOST_ROWS = 4_000_000  # that are kept, about half a gigabyte


class _ReadOnce(Store):
    """A store to which nothing is added meanwhile: its cells are read once, however many boards are opened, and so are
    the rows of boards where they are not too many to keep."""

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        self._rows: dict[tuple, pd.DataFrame] = {}

    def rows(self, keys: Iterable[str] | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """As `Store.rows`; the rows that were asked for longest ago make room for others."""
        asked = None if keys is None else tuple(sorted(keys)), None if columns is None else tuple(columns)
        found = self._rows.pop(asked, None)
        self._rows[asked] = super().rows(*asked) if found is None else found
        while len(self._rows) > 1 and sum(map(len, self._rows.values())) > MOST_ROWS:
            del self._rows[next(iter(self._rows))]
        return self._rows[asked]

    @cached_property
    def _row_files(self) -> tuple[list[Path], list[Path]]:
        return super()._row_files

    @cached_property
    def _cells(self) -> dict[str, Cell]:
        return super().cells()

    def cells(self) -> dict[str, Cell]:
        """All registered cells by key, oldest first."""
        return dict(self._cells)


class _WithStates(StoredResults):
    """The boards of a folder, with what replays of submissions found of each result."""

    def __init__(self, content: Content) -> None:
        super().__init__(content.store, newest=registry.shipped_version)
        self._content = content

    def _open(self, board: Board, metric: str | None) -> Leaderboard:
        found = super()._open(board, metric)
        return replace(found, table=with_states(found.table, board.cells, self._content.replay_state(board)))


class Content:
    """What the folder holds, each thing read once; index: that of a board folder, None for a plain results folder."""

    def __init__(self, root: Path):
        self.root, self.store = root, _ReadOnce.open(root)
        self.index = read_index(root) if is_board_folder(root) else None
        self.refused: list[str] = []  # which boards could not be joined across models, and why

    @cached_property
    def results(self) -> StoredResults:
        """The boards of the folder, each opened once."""
        return _WithStates(self)

    @cached_property
    def boards(self) -> list[SiteBoard]:
        """Current boards first, the newest before older ones. Raises XaibenchError where there is none."""
        every = [board for board in self.results.boards if self.store.has_rows(cell.key for cell in board.cells)]
        if not every:
            raise XaibenchError(f"no row is stored in {self.root}, so there is nothing to show; see `xaibench run`")
        return [SiteBoard(_slug(board, every), board, self.results.open(board)) for board in every]

    @cached_property
    def current(self) -> list[SiteBoard]:
        """Boards that no newer one replaced."""
        return [one for one in self.boards if one.board.is_current]

    @cached_property
    def across(self) -> list[SiteAcross]:
        """One for each set of current boards that differ in the model alone: those of most models first, then of most
        methods, then of most images."""
        found: list[SiteAcross] = []
        covered: set[str] = set()
        for one in self.current:
            if one.slug in covered or self._alone(one):
                continue
            try:
                joined = across_models(
                    self.results, one.protocol, board=one.board.key, comparable=is_comparable(one.protocol)
                )
            except XaibenchError as error:  # no image in common, or alike in nothing but names: a page says so
                self.refused.append(f"{one.protocol} on {one.model} is not joined with other models: {error}")
                continue
            by_title = {each.found.title: each for each in self.boards}
            members = {name: by_title[title] for name, title in joined.titles.items()}
            covered |= {each.slug for each in members.values()}
            found.append(SiteAcross(one.slug, joined, members))
        return sorted(found, key=lambda one: (-len(one.members), -len(one.found.matrix), -one.found.n_images))

    @cached_property
    def details(self) -> dict[str, list[str]]:
        """By slug what tells a board from others of its protocol, model and data set, such as `training seed 1`."""
        alike: dict[tuple[str, str, str], dict[str, list[str]]] = {}
        for one in self.boards:
            details = re.split(r" · | \(|, ", one.found.title.replace(")", ""))
            alike.setdefault((one.protocol, one.model, one.dataset), {})[one.slug] = details
        return {
            slug: [detail for detail in details if any(detail not in other for other in group.values())]
            for group in alike.values()
            for slug, details in group.items()
        }

    @cached_property
    def photos(self) -> dict[str, dict[str, Path]]:
        """By the key of a board and the id of an image the photo, where the board folder says that it may be shown."""
        if self.index is None:
            return {}
        return {
            one.key: {name: self.root / path for name, path in self.index.images.get(one.dataset, {}).items()}
            for one in self.index.boards
        }

    @cached_property
    def runs(self) -> list[RunManifest]:
        """All runs, oldest first."""
        return load_runs(self.store)

    @cached_property
    def cells(self) -> dict[str, Cell]:
        """A cell of each method of a board, by the method's name there; the first of the newest board."""
        found: dict[str, Cell] = {}
        for one in self.boards:
            for cell in one.board.cells:
                found.setdefault(cell.method_name, cell)
        return dict(sorted(found.items()))

    @cached_property
    def bad_replays(self) -> list[Problem]:
        """What is wrong with records of replays; those are not shown, and verify nothing."""
        return replay_problems(self.root) if self.index else []

    @cached_property
    def replays(self) -> dict[str, Replay]:
        """The records of replays by their SHA-256, those of the newest submission last."""
        if self.index is None:
            return {}
        bad = {problem.path for problem in self.bad_replays}
        names = [name for one in self.index.submissions for name in one.replays]
        return {name: read_replay(self.root / replay_path(name)) for name in names if replay_path(name) not in bad}

    def replay_state(self, board: Board) -> dict[str, str]:
        """What is said of each result of a board, by its key; nothing where no submission is about any of them."""
        entries = self.index.submissions if self.index else []
        return states([cell.key for cell in board.cells], entries, self.replays.values())

    @staticmethod
    def replay_address(name: str) -> str:
        """Of the page of a replay, from the site's folder."""
        return f"replays/{name[:16]}.html"

    @cached_property
    def method_slugs(self) -> dict[str, str]:
        """The part of addresses of each method."""
        return slugs(self.cells)

    def method_address(self, method: str) -> str:
        """Of the page of a method, from the site's folder."""
        return f"methods/{self.method_slugs[method]}.html"

    def method_id(self, method: str) -> str:
        """The id of a method's row."""
        return f"method-{self.method_slugs[method]}"

    def agreement(self, across: str, protocol: str | None, model: str | None, dataset: str | None) -> Agreement:
        """How boards that fit these patterns and differ only in `across` agree; as `agreement_of_boards`."""
        return agreement_of_boards(self.results, across, protocol, model=model, dataset=dataset)

    def _alone(self, one: SiteBoard) -> bool:
        """Whether no other model was evaluated under the same protocol on the same data."""
        alike = {each.model for each in self.current if (each.protocol, each.dataset) == (one.protocol, one.dataset)}
        return len(alike) < 2


def _slug(board: Board, every: list[Board]) -> str:
    parts = [part_name(board.context, part) for part in ("protocol", "model")]
    return "-".join([*(file_name(part)[:40] for part in parts if part), short_key(board, every)])


def leading(table: Any) -> Iterator[dict[str, Any]]:
    """The rows of ranked methods that may be the best: their rank set has rank 1 in it; the best mean first."""
    ranked = table[table["rank_low"].eq(1).fillna(False).astype(bool)].sort_values("rank", kind="stable")
    yield from ranked.to_dict("records")


def leading_models(found: AcrossModels) -> list[str]:
    """The ranked models that are not told apart from the best one, which comes first; their best methods decide."""
    ranked = found.models.loc[found.models["group"] != "", "model"].tolist()
    return [name for name in ranked if not found.surely_better.at[ranked[0], name]]


def model_styles(found: AcrossModels) -> dict[str, str]:
    """How each model is drawn: `lead` for the best one and those that are not told apart from it, `rest` for others."""
    best = leading_models(found)
    return {name: "lead" if name in best else "rest" for name in found.models["model"]}


def without_training_seed(model: str) -> str:
    """The name of a model as of all of its trainings: `resnet18 (training seed 1)` is `resnet18`."""
    return re.sub(r" \(\)$", "", re.sub(r"training seed \d+(, )?", "", model))
