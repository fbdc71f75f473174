"""Results folders whose boards are read once and opened once: the one way to find and read what is stored."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from xaibench.analysis.boards import Board, boards, fitting
from xaibench.analysis.leaderboard import Leaderboard, open_board
from xaibench.results.cells import part_name
from xaibench.results.store import Store

NAMED = 2  # folders that a message names


class StoredResults:
    """What one or several results folders hold. Of a board that several have, the first folder's is taken.

    Args:
        folders: results folders or board folders; where one is no results folder, `Store.open` raises XaibenchError.
        newest: the installed version of a card, see `Board.outdated`.
    """

    def __init__(
        self, *folders: Store | str | Path, newest: Callable[[str, str], int | None] = lambda kind, name: None
    ):
        self.stores = tuple(each if isinstance(each, Store) else Store.open(each) for each in folders)
        self._newest = newest
        self._opened: dict[tuple[str, str | None], Leaderboard] = {}

    @classmethod
    def of(
        cls, given: StoredResults | Store | str | Path, newest: Callable[[str, str], int | None] | None = None
    ) -> StoredResults:
        """What is given, or the results of a folder."""
        if isinstance(given, StoredResults):
            return given
        return cls(given) if newest is None else cls(given, newest=newest)

    @property
    def root(self) -> str:
        """The folders, for messages; of many how many they are."""
        names = [str(store.root) for store in self.stores]
        return " and ".join(names) if len(names) <= NAMED else f"these {len(names)} folders"

    @cached_property
    def boards(self) -> list[Board]:
        """All boards, those of the first folder first, each folder's in the order of `boards.boards`."""
        return [board for board, _ in self._placed.values()]

    def store_of(self, board: Board) -> Store:
        """The folder that a board is read from."""
        return self._placed[board.key][1]

    def open(self, board: Board, metric: str | None = None) -> Leaderboard:
        """The leaderboard of a board by a metric, by default the protocol's; its rows are read again where they are
        needed."""
        key = board.key, metric
        if key not in self._opened:
            self._opened[key] = self._open(board, metric)
        return self._opened[key]

    def _open(self, board: Board, metric: str | None) -> Leaderboard:
        rest = [each for each in fitting(self.boards, part_name(board.context, "protocol")) if each.key != board.key]
        store = self.store_of(board)
        return open_board(store, board, rest, metric=metric, newest=self._newest, others=False)

    @cached_property
    def _placed(self) -> dict[str, tuple[Board, Store]]:
        found: dict[str, tuple[Board, Store]] = {}
        for store in self.stores:
            for board in boards(store):
                found.setdefault(board.key, (board, store))
        return found
