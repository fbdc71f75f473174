"""The scores of one board with their context: what leaderboards, breakdowns and correlations are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from xaibench.analysis.scores import scored
from xaibench.presentation import Presentable
from xaibench.results.cells import Cell, describe, metric_declaration


@dataclass(frozen=True)
class Source:
    """What a leaderboard was made from: a function that gives the rows (`leaderboard.READ`, every metric) of its cells
    and images, the names of the data set's classes by index (none where no run recorded them), and the command of its
    run. So several boards need not have their rows in memory together."""

    read: Callable[[], pd.DataFrame]
    cells: tuple[Cell, ...]
    images: tuple[str, ...]
    classes: tuple[str, ...] = ()
    command: str = ""

    @property
    def rows(self) -> pd.DataFrame:
        """The rows, which may be read from files anew."""
        return self.read()


@dataclass(frozen=True)
class RecordedRun:
    """What a leaderboard takes from the record of its run: {"correct", "images"} of the model, the names of the data
    set's classes by index, and the command; each may be unknown."""

    accuracy: dict[str, int] | None = None
    classes: tuple[str, ...] = ()
    command: str = ""


@dataclass(frozen=True)
class ScoredBoard(Presentable):
    """One board's table and its context; the fields are those of `leaderboard.Leaderboard`."""

    table: pd.DataFrame
    board: str
    context: dict[str, Any]
    metric: str
    higher_is_better: bool
    n_list: int
    n_reference: int
    undefined_cost: float | None = None
    accuracy: dict[str, int] | None = None
    notes: tuple[str, ...] = field(default=())
    source: Source | None = field(default=None, repr=False, compare=False)
    age: str = ""
    surely_better: pd.DataFrame | None = field(default=None, repr=False, compare=False)

    @property
    def title(self) -> str:
        """The context in one line, and with which versions of cards it was made where there are newer ones."""
        return " · ".join(filter(None, [describe(self.context), self.age]))

    @property
    def has_direction(self) -> bool:
        """Whether one end of the scores is better; metrics that only describe have none."""
        declared = metric_declaration(self.context.get("protocol") or {}, self.metric)
        return declared.get("higher_is_better", True) is not None

    def require_source(self) -> Source:
        """What the board was made from; raises ValueError where it was made without rows."""
        if self.source is None:
            raise ValueError("this leaderboard was made without rows")
        return self.source

    def image_scores(self) -> pd.DataFrame:
        """The scores behind the means: one row per image with a defined reference, one column per method of the table,
        NaN where nothing is stored. Raises ValueError where the board was made without rows."""
        source = self.require_source()
        cells = {cell.method_name: cell.key for cell in source.cells}
        protocol = self.context["protocol"] | metric_declaration(self.context["protocol"], self.metric)
        rows = source.rows[source.rows["metric"] == self.metric]
        methods = self.table["method"].tolist()
        scores, _ = image_scores(rows, [cells[name] for name in methods], protocol)
        return scores.set_axis(methods, axis=1)

    def ranked_scores(self) -> pd.DataFrame:
        """As `image_scores`, of the ranked methods alone and of the images of which each has a score."""
        return self.image_scores()[self.table.loc[self.table["rank"].notna(), "method"].tolist()].dropna()


def image_scores(rows: pd.DataFrame, keys: list[str], protocol: dict[str, Any]) -> tuple[pd.DataFrame, pd.Series]:
    """Scores (images with a defined reference, cells), NaN where not stored, and images with an undefined map.

    rows: of one metric, with the columns `leaderboard.READ`; keys: of the cells, in the order of the columns.
    """
    rows = scored(rows, protocol)
    scores = rows.groupby(["image_id", "cell"])["score"].mean().unstack("cell").reindex(columns=keys)
    undefined = rows[rows["broken"]].groupby("cell")["image_id"].nunique().reindex(keys, fill_value=0)
    return scores, undefined
