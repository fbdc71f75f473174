"""What pages and figures are given: the attributes that they read, whatever class has them.

The classes of `xaibench.analysis` have them all. What each attribute holds is said there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd


class Winner(Protocol):
    """The best method of a board: its mean, and that of the best on images that it was not chosen on."""

    method: str
    mean: float
    held_out: float
    chosen: float
    splits: int


class Board(Protocol):
    """A leaderboard: one row per method, with the columns of `columns.LEADERBOARD`."""

    table: pd.DataFrame
    board: str
    context: dict[str, Any]
    metric: str
    higher_is_better: bool
    n_list: int
    n_reference: int
    undefined_cost: float | None
    accuracy: dict[str, int] | None
    notes: tuple[str, ...]

    @property
    def title(self) -> str: ...
    @property
    def has_direction(self) -> bool: ...
    @property
    def winner(self) -> Winner | None: ...


class Breakdown(Protocol):
    """A board in groups: one row per group (`columns.GROUPS`), and per group and method (`columns.BREAKDOWN`)."""

    by: str
    groups: pd.DataFrame
    table: pd.DataFrame
    board: Board
    notes: tuple[str, ...]

    @property
    def title(self) -> str: ...


class Correlation(Protocol):
    """The correlation of a board's metric with another one: a row per method (`columns.CORRELATION`)."""

    metric: str
    table: pd.DataFrame
    board: Board
    notes: tuple[str, ...]

    @property
    def title(self) -> str: ...


class Pairs(Protocol):
    """The ranked methods of a board two by two: a row per pair (`columns.PAIRS`), and its columns as matrices."""

    table: pd.DataFrame
    draws: int
    exact: bool
    board: Board
    notes: tuple[str, ...]

    @property
    def title(self) -> str: ...
    @property
    def methods(self) -> list[str]: ...
    def matrix(self, column: str) -> pd.DataFrame: ...


class Survey(Protocol):
    """Tests of a survey: a row per test (`columns.SURVEY`), and what was answered."""

    table: pd.DataFrame
    means: tuple[float, float] | None
    counts: Any
    n_pairs: int | None
    n_missing: int
    respondents: int | None
    images: int | None
    notes: tuple[str, ...]

    @property
    def title(self) -> str: ...
    @property
    def clustered(self) -> bool: ...


class Agreement(Protocol):
    """How boards agree: a row per pair (`columns.AGREEMENT`), and one per board (`columns.AGREEING_BOARDS`)."""

    table: pd.DataFrame
    boards: pd.DataFrame
    across: str
    title: str
    notes: tuple[str, ...]

    @property
    def matrix(self) -> pd.DataFrame: ...
    @property
    def tree(self) -> np.ndarray: ...


class MetaRank(Protocol):
    """Ranks over boards: a row per method (`columns.META_RANK`), per board (`columns.META_RANK_BOARDS`) and per setting
    (`columns.META_RANK_SETTINGS`)."""

    table: pd.DataFrame
    boards: pd.DataFrame
    factors: pd.DataFrame
    ranks: pd.DataFrame
    tau: float
    tau_low: float
    tau_high: float
    n_images: int
    title: str
    notes: tuple[str, ...]


class Pareto(Protocol):
    """Points of two numbers: a row per point (`columns.PARETO_POINTS`), with x under its own name."""

    table: pd.DataFrame
    x: str
    x_high: bool
    of: str
    metric: str
    higher_is_better: bool
    title: str
    notes: tuple[str, ...]


class AcrossModels(Protocol):
    """Boards of several models as one: rows per model and method, rows per model, means per method and model."""

    table: pd.DataFrame
    models: pd.DataFrame
    titles: dict[str, str]
    metric: str
    higher_is_better: bool
    comparable: bool
    n_images: int
    notes: tuple[str, ...]
    surely_better: pd.DataFrame

    @property
    def title(self) -> str: ...
    @property
    def matrix(self) -> pd.DataFrame: ...


class Design(Protocol):
    """What is compared: the card of a comparison."""

    name: str
    title: str
    question: str
    claim: str


class Pair(Protocol):
    """Two arms of a comparison, method by method."""

    before: str
    after: str
    table: pd.DataFrame
    change: float
    low: float
    high: float
    improved: int
    clearly: int
    worsened: int
    count: int
    agreement: float
    missing: tuple[str, ...]
    images: int
    trainings: tuple[int, int]
    accuracy_changes: pd.DataFrame | None

    @property
    def enough(self) -> bool: ...


class Arm(Protocol):
    """One side of a comparison; figures read only on which images its accuracy is."""

    accuracy_of: str


class Study(Protocol):
    """A comparison of designs that was run under one protocol."""

    card: Design
    pairs: Sequence[Pair]
    arms: Mapping[str, Arm]
    summary: pd.DataFrame
    spread: pd.DataFrame | None
    titles: dict[str, str]
    metric: str
    higher_is_better: bool
    notes: tuple[str, ...]
    protocol_label: str

    @property
    def title(self) -> str: ...
    @property
    def table(self) -> pd.DataFrame: ...
    @property
    def across_models(self) -> bool: ...
    @property
    def trained(self) -> bool: ...


class Overview(Protocol):
    """All arms of a comparison under several protocols: means, and deviations between trainings."""

    title: str
    table: pd.DataFrame
    deviations: pd.DataFrame
    lower: tuple[str, ...]
    needed: int


class Settled(Protocol):
    """What is known of an order after some images of a list: pairs that are asked for, and those that are undecided."""

    seen: int
    listed: int
    pairs: int
    undecided: tuple[tuple[str, str, float], ...]


class BesideNumbers(Protocol):
    """Printed numbers and ours: a row per number (`columns.PRINTED`)."""

    table: pd.DataFrame
    quantity: str
    rho: float
    count: int
    farthest: str

    @property
    def largest(self) -> float: ...


class FigurePanel(Protocol):
    """A part of a study's figure: `points`, `lines`, `boxes` or `bars`, with its numbers and what its axes are."""

    kind: str
    table: pd.DataFrame
    x: str
    y: str


class ImageRow(Protocol):
    """A row of a figure of images: a label, images (N, H, W, 3) uint8, and a caption for each."""

    label: str
    images: np.ndarray
    captions: Sequence[str]


class Reproduction(Protocol):
    """A table or figure of a paper, repeated: numbers beside each other, a row per claim (`columns.CLAIMS`), and scores
    by method and board."""

    card: Any
    scale: str
    beside: Sequence[BesideNumbers]
    scores: pd.DataFrame
    kinds: Mapping[str, str]
    metric: str
    notes: Sequence[str]
    panels: Sequence[FigurePanel]

    @property
    def title(self) -> str: ...
    @property
    def claims(self) -> pd.DataFrame: ...
