"""The result of a study: our numbers beside those of a paper, and the verdicts on its claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import pandas as pd

from xaibench.analysis.printed import Beside
from xaibench.analysis.verdicts import Verdict
from xaibench.presentation import Presentable

COLUMNS = ("claim", "text", "state", "why")


class PaperText(Protocol):
    """The fields of a paper that are read here; `cards.Paper` has them."""

    title: str
    year: int


class StudyText(Protocol):
    """What is repeated: the fields that are read here; `cards.StudyCard` has them."""

    name: str
    title: str
    item: str
    shows: str

    @property
    def paper(self) -> PaperText: ...


@dataclass(frozen=True)
class Panel:
    """A part of a study's figure.

    kind: `points` (x, y, series, group: a mark each, by colour and form), `lines` (x, y, series: through the means of
    each x, a level where x is NaN), `boxes` (group, value: a box per group, in their order) or `bars` (name, value).
    table: its numbers. x, y: what the axes are.
    """

    kind: str
    table: pd.DataFrame
    x: str
    y: str


@dataclass(frozen=True)
class Reproduction(Presentable):
    """What `xaibench study run` found.

    card: the study. scale: the kind of data. beside: printed numbers with ours. verdicts: on each claim. scores: ours,
    one row per method (index) and one column per board or arm (means over trainings and images), NaN where there is
    none; kinds: of each method. metric: of the scores, "" for none. notes: what else a reader must know. panels: of its
    figure, where it has other ones than columns of scores.
    """

    layout: ClassVar[str] = "reproduction"

    card: StudyText
    scale: str
    beside: tuple[Beside, ...]
    verdicts: tuple[Verdict, ...]
    scores: pd.DataFrame
    kinds: dict[str, str]
    metric: str
    notes: tuple[str, ...]
    panels: tuple[Panel, ...] = ()

    @property
    def title(self) -> str:
        """The table or figure, and on what it was repeated."""
        return f"{self.card.item}: {self.card.title} · {self.scale}"

    @property
    def claims(self) -> pd.DataFrame:
        """One row per claim: claim, text, state, why."""
        return pd.DataFrame([vars(one) for one in self.verdicts], columns=list(COLUMNS))
