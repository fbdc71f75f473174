"""Tests of a survey in which people answer before and after something is shown: paired t, McNemar, sign flips.

McNemar's test (Psychometrika 1947) takes all answers as independent. Where a person answers about several images they
are not, and its p is most often too small; it is given as papers publish it. With the single answers at hand, sign
flips of whole respondents (or images) hold: if what is shown changes nothing, a respondent's answers before and after
are exchangeable, all of them together, however they depend on each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from xaibench.analysis.bootstrap import LEVEL, TIE
from xaibench.analysis.sign_flip import sign_flip, subsets_of
from xaibench.errors import XaibenchError
from xaibench.presentation import Presentable

COLUMNS = ("test", "unit", "n", "quantity", "estimate", "ci_low", "ci_high", "statistic", "df", "p")
CHANGE, ODDS = "mean change", "corrections per loss"
PUBLISHED = "numbers as published"


class Counts(NamedTuple):
    """Pairs of answers by (before, after): both right, right then wrong, wrong then right, both wrong; the first and
    the last are None where only changes were published."""

    both_right: int | None
    lost: int
    corrected: int
    both_wrong: int | None


@dataclass(frozen=True)
class Survey(Presentable):
    """Tests of a survey.

    table: one row per test with `COLUMNS`: unit, what the test takes as independent; n of them; estimate with ci_low
    and ci_high of the quantity, `mean change` (after - before, in the answers' unit) or `corrections per loss` (odds,
    0 to infinity); statistic and df; p, two-sided; NaN where there is none. means: before and after, over answers.
    counts: of right and wrong answers, None where answers are scores. n_pairs: pairs of answers; n_missing: pairs left
    out, as one of the two answers is missing; respondents, images: how many there are, None where unknown.
    """

    layout: ClassVar[str] = "survey"

    table: pd.DataFrame
    source: str
    means: tuple[float, float] | None = None
    counts: Counts | None = None
    n_pairs: int | None = None
    n_missing: int = 0
    respondents: int | None = None
    images: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Where the numbers come from."""
        return f"survey · {self.source}"

    @property
    def clustered(self) -> bool:
        """Whether respondents answered several times, so that answers are not independent."""
        return self.respondents is not None and (self.n_pairs or 0) > self.respondents


def survey_of_answers(answers: pd.DataFrame, source: str, seed: int = 0) -> Survey:
    """The tests of single answers, as `survey_file.read_answers` gives them: paired t and sign flips over images and
    over respondents, McNemar where answers are 0 and 1. seed: of flips of more than 16 units, which are drawn."""
    whole = answers.dropna(subset=["before", "after"])
    rows: list[dict[str, Any]] = []
    for unit in ("image", "respondent"):
        if unit in whole and whole[unit].nunique() > 1:
            means = whole.groupby(unit, sort=False)[["before", "after"]].mean()
            rows += _tests_of_means(means["before"].to_numpy(), means["after"].to_numpy(), f"{unit}s", seed)
    counts, notes = None, []
    if whole[["before", "after"]].isin([0, 1]).all(axis=None):
        right = pd.crosstab(whole["before"], whole["after"]).reindex(index=[1, 0], columns=[1, 0], fill_value=0)
        counts = Counts(*map(int, right.to_numpy().ravel()))
        rows += _mcnemar(counts)
    else:
        notes.append("answers are scores, not 0 and 1, so there is no McNemar test")
    if not rows:
        raise XaibenchError(f"{source} has no test: scores need two respondents or two images")
    units = {f"{unit}s": int(whole[unit].nunique()) if unit in whole else None for unit in ("respondent", "image")}
    means = (float(whole["before"].mean()), float(whole["after"].mean()))
    return Survey(
        _table(rows), source, means, counts, len(whole), len(answers) - len(whole), notes=tuple(notes), **units
    )


def survey_of_published(counts: Counts | None = None, t: tuple[float, int] | None = None) -> Survey:
    """The tests of what a paper prints: the counts of McNemar's test, and t with its degrees of freedom, at least 1."""
    rows: list[dict[str, Any]] = []
    if t is not None:
        rows.append({"test": "paired t-test", "unit": "pairs", "n": t[1] + 1, "statistic": t[0], "df": float(t[1]),
                     "p": float(2 * stats.t.sf(abs(t[0]), t[1]))})  # fmt: skip
    rows += _mcnemar(counts) if counts else []
    if counts is None or counts.both_right is None or not (pairs := sum(counts)):
        return Survey(_table(rows), PUBLISHED, counts=counts)
    means = ((counts.both_right + counts.lost) / pairs, (counts.both_right + counts.corrected) / pairs)
    return Survey(_table(rows), PUBLISHED, means, counts, pairs)


def _tests_of_means(before: np.ndarray, after: np.ndarray, unit: str, seed: int) -> Iterator[dict[str, Any]]:
    """Paired t and sign flips of means, (units,) each."""
    change, count = after - before, len(before)
    row = {"unit": unit, "n": count, "quantity": CHANGE, "estimate": change.mean()}
    if change.std() > TIE * max(1.0, np.abs(change).max()):  # otherwise there is no t
        found = stats.ttest_rel(after, before)
        low, high = found.confidence_interval(LEVEL)
        yield row | {"test": "paired t-test", "ci_low": low, "ci_high": high, "statistic": found.statistic,
                     "df": found.df, "p": found.pvalue}  # fmt: skip
    flips = sign_flip(subsets_of(np.stack([after, before], axis=1), seed), 0, 1)
    yield row | {"test": "sign flips", "ci_low": flips.low, "ci_high": flips.high, "p": flips.p}


def _mcnemar(counts: Counts) -> list[dict[str, Any]]:
    """McNemar's exact test and both chi-squares; without p where no answer changed."""
    try:
        from statsmodels.stats.contingency_tables import mcnemar
    except ModuleNotFoundError as error:
        raise XaibenchError("McNemar's test needs statsmodels: pip install 'xaibench[survey]'") from error
    lost, corrected = counts.lost, counts.corrected
    table = [[counts.both_right or 0, lost], [corrected, counts.both_wrong or 0]]
    row: dict[str, Any] = {"unit": "answers", "n": lost + corrected, "quantity": ODDS}
    kinds = {"McNemar, exact": {"exact": True}, "McNemar, chi-square": {"exact": False, "correction": False},
             "McNemar, chi-square corrected": {"exact": False, "correction": True}}  # fmt: skip
    if not lost + corrected:
        return [row | {"test": name} for name in kinds]
    ends = stats.binomtest(corrected, lost + corrected).proportion_ci(LEVEL)
    low, high, odds = (_odds(part) for part in (*ends, corrected / (lost + corrected)))
    rows = []
    for name, how in kinds.items():
        found = mcnemar(table, **how)
        exact = {"ci_low": low, "ci_high": high} if how["exact"] else {"df": 1.0}
        rows.append(row | exact | {"test": name, "estimate": odds, "statistic": float(found.statistic),
                                   "p": float(found.pvalue)})  # fmt: skip
    return rows


def _odds(share: float) -> float:
    return float(share / (1 - share)) if share < 1 else np.inf


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(COLUMNS[4:], "float64"))
    return table.assign(quantity=table["quantity"].fillna(""))
