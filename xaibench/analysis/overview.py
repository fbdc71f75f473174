"""All arms of a comparison under several protocols, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from xaibench.analysis.comparison import ENOUGH
from xaibench.analysis.ranking import RANKED
from xaibench.analysis.study import SOMETIMES, Study
from xaibench.presentation import Presentable

MEASURED = ("accuracy", *SOMETIMES)


@dataclass(frozen=True)
class Overview(Presentable):
    """The arms of one comparison under several protocols.

    table: one row per arm and ranked method, with the columns arm, method, trainings, those of `MEASURED` that are
    known, and one per study, named by its protocol: means over trainings (and images). deviations: the same rows and
    columns, the standard deviation over trainings (n - 1), NaN for one training. lower: protocols for which lower is
    better. needed: trainings of each arm that a claim about a design takes.
    """

    layout: ClassVar[str] = "overview"

    title: str
    table: pd.DataFrame
    deviations: pd.DataFrame
    lower: tuple[str, ...]
    needed: int = ENOUGH


def overview(studies: Sequence[Study]) -> Overview:
    """One table of studies of the same card and arms; where a protocol has no such method the entry is NaN."""
    first, means, deviations = studies[0], [], []
    for name in first.arms:
        summary = first.summary[first.summary["arm"] == name]
        measured = {column: summary[column].to_numpy(float) for column in MEASURED if column in summary}
        arms = [study.arms[name] for study in studies]
        pairs = [pair for arm in arms for pair in zip(arm.methods, arm.kinds, strict=True)]
        methods = dict.fromkeys(method for method, kind in pairs if kind in RANKED)
        for method in methods:
            found = measured | {study.protocol_label: _by_training(study, name, method) for study in studies}
            who = {"arm": name, "method": method, "trainings": len(summary)}
            means.append(who | {column: values.mean() for column, values in found.items()})
            deviations.append(who | {column: _deviation(values) for column, values in found.items()})
    table = pd.DataFrame(means)
    empty = [column for column in MEASURED if column in table and table[column].isna().all()]
    lower = tuple(study.protocol_label for study in studies if not study.higher_is_better)
    title = f"{first.card.title} · {first.dataset}"
    return Overview(title, table.drop(columns=empty), pd.DataFrame(deviations).drop(columns=empty), lower)


def _by_training(study: Study, name: str, method: str) -> np.ndarray:
    """The mean over images of each training, (trainings,)."""
    arm = study.arms[name]
    if method not in arm.methods:
        return np.array([np.nan])
    return arm.scores[:, :, arm.methods.index(method)].mean(axis=1)


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")
