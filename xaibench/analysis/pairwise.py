"""Each pair of a board's ranked methods: the mean difference, how large it is beside its spread, and two tests.

The verdict is the board's: `Leaderboard.surely_better`, which holds for all pairs at once. Beside it stand p-values of
paired sign-flip tests, adjusted by Holm's method, as papers give them. Both err at most at the stated rate over all
pairs; they use the same differences in two ways, so a pair near the limit may pass one and not the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np
import pandas as pd

from xaibench.analysis.bootstrap import LEVEL, TIE
from xaibench.analysis.scored_board import ScoredBoard
from xaibench.analysis.sign_flip import holm, sign_flip, subsets_of
from xaibench.errors import XaibenchError
from xaibench.presentation import Presentable

COLUMNS = ("first", "second", "difference", "ci_low", "ci_high", "d_z", "superiority", "n_tied", "n_images",
           "p", "p_holm", "surely_better")  # fmt: skip


@dataclass(frozen=True)
class Pairs(Presentable):
    """A board's ranked methods, two by two.

    table: one row per pair, `first` the one with the better mean, in the board's order, with `COLUMNS`: difference of
    the means, first - second, in the score's unit, with ci_low and ci_high of this pair alone (NaN below 6 images);
    d_z, the mean of the images' differences over their standard deviation (NaN where that is 0); superiority in
    [0, 1], the share of images on which the first is better, ties counted half; n_tied images where both score the
    same; n_images; p and p_holm in (0, 1]; surely_better, whether the board tells the first from the second.
    draws: sign flips behind each p; exact: whether these are all there are.
    """

    layout: ClassVar[str] = "pairs"

    table: pd.DataFrame
    draws: int
    exact: bool
    board: ScoredBoard
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """The board's context in one line."""
        return f"{self.board.title} · pairs of methods"

    @property
    def methods(self) -> list[str]:
        """The ranked methods in the board's order."""
        return self.board.table.loc[self.board.table["rank"].notna(), "method"].tolist()

    def matrix(self, column: str) -> pd.DataFrame:
        """A column of the table by first (index) and second (columns), NaN for the other way round and the diagonal."""
        wide = self.table.pivot(index="first", columns="second", values=column)
        return wide.reindex(index=self.methods, columns=self.methods)


def pairwise(board: ScoredBoard, surely_better: pd.DataFrame, seed: int = 0) -> Pairs:
    """Every pair of the board's ranked methods.

    Args:
        surely_better: bool (methods, methods) by name, whether the row's method is surely better than the column's.
        seed: of the sign flips, where they are drawn.

    Raises XaibenchError where fewer than two methods have a rank, and ValueError for a board made without rows.
    """
    names = board.table.loc[board.table["rank"].notna(), "method"].tolist()
    if len(names) < 2:
        raise XaibenchError(f"a pair needs two ranked methods; this board has {len(names)}")
    scores = board.ranked_scores().to_numpy()
    subsets = subsets_of(scores, seed)
    rows = []
    for first, second in combinations(range(len(names)), 2):
        test = sign_flip(subsets, first, second)
        sizes = effect_sizes(scores[:, first], scores[:, second], board.higher_is_better)
        rows.append((names[first], names[second], sizes[0], test.low, test.high, *sizes[1:], len(scores), test.p))
    table = pd.DataFrame(rows, columns=list(COLUMNS[:10]))
    table["p_holm"] = holm(table["p"].to_numpy())
    table["surely_better"] = [bool(surely_better.at[row.first, row.second]) for row in table.itertuples()]
    lowest = 1 / subsets.sums.shape[1]
    notes = list(board.notes)
    if lowest * len(table) > 1 - LEVEL:
        notes.append(
            f"p is at least {lowest:.2g} with {len(scores)} images, which is {min(1, lowest * len(table)):.2g} after "
            f"Holm's step over {len(table)} pairs: more images, or fewer methods, are needed for a small one"
        )
    return Pairs(table, subsets.sums.shape[1], subsets.exact, board, tuple(notes))


def effect_sizes(first: np.ndarray, second: np.ndarray, higher: bool = True) -> tuple[float, float, float, int]:
    """Mean of first - second, d_z of it, superiority of the first, and ties; both are scores (images,), finite.

    d_z = mean / standard deviation (n - 1) of the differences, NaN where that is 0 or there is one image. Superiority
    (Grissom and Kim 2012) is the share of images on which the first is better, ties counted half, in [0, 1].
    """
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    difference[np.abs(difference) <= TIE * np.maximum(1.0, np.abs(first))] = 0.0
    deviation = difference.std(ddof=1) if len(difference) > 1 else 0.0
    d_z = difference.mean() / deviation if deviation > TIE * np.abs(difference).max() else np.nan
    tied = int((difference == 0).sum())
    better = int((difference > 0).sum() if higher else (difference < 0).sum())
    return float(difference.mean()), float(d_z), (better + tied / 2) / len(difference), tied
