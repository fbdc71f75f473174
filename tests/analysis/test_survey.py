"""Tests of surveys against SciPy, statsmodels, hand-computed counts and the published numbers; files read strictly."""

from __future__ import annotations

import csv
import io
import json
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xaibench.analysis.survey import COLUMNS, Counts, survey_of_answers, survey_of_published
from xaibench.analysis.survey_file import read_answers
from xaibench.errors import XaibenchError

EXACT, SQUARE, CORRECTED = "McNemar, exact", "McNemar, chi-square", "McNemar, chi-square corrected"


def rows_of(found) -> dict[tuple[str, str], dict]:
    return {(row["test"], row["unit"]): row for row in found.table.to_dict("records")}


@pytest.fixture
def answers():
    """Twelve respondents, five images, 0 and 1; two answers are missing."""
    draws = np.random.default_rng(2)
    table = pd.DataFrame([(f"r{r}", f"i{i}") for r in range(12) for i in range(5)], columns=["respondent", "image"])
    table["before"] = draws.integers(0, 2, 60).astype(float)
    table["after"] = (draws.random(60) < 0.8).astype(float)
    table.loc[3, "before"] = table.loc[40, "after"] = np.nan
    return table


def test_the_published_numbers_follow_from_what_is_published():
    """Reproducibility study of model guidance, Table 8: t = -4.42 over six images, p = .0069; 99 changes, 80 of them
    corrections, and a statistic of 19.0, that of the exact test."""
    found = rows_of(survey_of_published(Counts(None, 19, 80, None), (-4.42, 5)))
    t = found["paired t-test", "pairs"]
    assert (t["n"], t["statistic"], t["df"]) == (6, -4.42, 5) and round(t["p"], 4) == 0.0069
    exact = found[EXACT, "answers"]
    assert (exact["n"], exact["statistic"], exact["estimate"]) == (99, 19, pytest.approx(80 / 19))
    assert exact["p"] == pytest.approx(stats.binomtest(19, 99).pvalue, rel=1e-9) and f"{exact['p']:.2g}" == "4.4e-10"


def test_mcnemar_by_hand():
    found = rows_of(survey_of_published(Counts(10, 2, 8, 5)))
    assert found[SQUARE, "answers"]["statistic"] == pytest.approx((8 - 2) ** 2 / 10)
    assert found[CORRECTED, "answers"]["statistic"] == pytest.approx((8 - 2 - 1) ** 2 / 10)
    assert found[SQUARE, "answers"]["p"] == pytest.approx(stats.chi2.sf(3.6, 1))
    exact = found[EXACT, "answers"]
    assert exact["p"] == pytest.approx(2 * (1 + 10 + 45) / 2**10)  # 0, 1 or 2 of 10 coins
    low, high = stats.binomtest(8, 10).proportion_ci()
    assert (exact["ci_low"], exact["ci_high"]) == pytest.approx((low / (1 - low), high / (1 - high)))
    assert survey_of_published(Counts(10, 2, 8, 5)).means == pytest.approx((12 / 25, 18 / 25))


def test_single_answers_by_scipy(answers):
    found = survey_of_answers(answers, "a.csv")
    rows, whole = rows_of(found), answers.dropna()
    assert tuple(found.table.columns) == COLUMNS
    for unit in ("image", "respondent"):
        before, after = (whole.groupby(unit)[name].mean().to_numpy() for name in ("before", "after"))
        expected, row = stats.ttest_rel(after, before), rows["paired t-test", f"{unit}s"]
        assert (row["statistic"], row["df"], row["p"]) == pytest.approx(
            (expected.statistic, expected.df, expected.pvalue)
        )
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(expected.confidence_interval()))
        flips = stats.permutation_test(
            (after, before), lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples",
            n_resamples=np.inf, vectorized=True,
        )  # fmt: skip
        assert rows["sign flips", f"{unit}s"]["p"] == pytest.approx(flips.pvalue, abs=1e-12)
        assert row["estimate"] == rows["sign flips", f"{unit}s"]["estimate"] == pytest.approx((after - before).mean())
    assert (found.n_pairs, found.n_missing, found.respondents, found.images, found.clustered) == (58, 2, 12, 5, True)
    counts = [[int(((whole["before"] == b) & (whole["after"] == a)).sum()) for a in (1, 0)] for b in (1, 0)]
    assert found.counts == Counts(*counts[0], *counts[1])
    assert rows[EXACT, "answers"]["p"] == pytest.approx(
        stats.binomtest(counts[0][1], sum((counts[0][1], counts[1][0]))).pvalue
    )


def test_scores_have_no_mcnemar(answers):
    found = survey_of_answers(answers.assign(after=answers["after"] * 0.5), "a.csv")
    assert {test for test, _ in rows_of(found)} == {"paired t-test", "sign flips"} and found.counts is None
    assert "scores, not 0 and 1" in found.notes[0]


def test_what_has_no_t_and_no_changes():
    table = pd.DataFrame({"image": ["a", "b", "c"], "before": [0.0, 0, 1], "after": [0.0, 0, 1]})
    found = survey_of_answers(table, "a.csv")
    rows = rows_of(found)
    assert ("paired t-test", "images") not in rows and rows["sign flips", "images"]["p"] == 1
    assert np.isnan(rows[EXACT, "answers"]["p"]) and "nothing to test" in found.caption
    all_better = rows_of(survey_of_published(Counts(None, 0, 4, None)))[EXACT, "answers"]
    assert all_better["estimate"] == np.inf and all_better["p"] == pytest.approx(2 / 16)


WIDE = "respondent,image,before,after\nanna,car-1,0,1\nanna,car-2,1,\nbob,car-1,0,0\n"
LONG = ("image,condition,answer,respondent\ncar-1,before,0,anna\ncar-1,after,1,anna\ncar-2,before,1,anna\n"
        "car-1,after,0,bob\n\ncar-1,before,0,bob\n")  # fmt: skip


def test_both_forms_are_the_same_answers(tmp_path):
    for name, text in (("wide.csv", WIDE), ("long.csv", LONG), ("bom.csv", "\ufeff" + WIDE.replace("\n", "\r\n"))):
        (tmp_path / name).write_bytes(text.encode())
    wide, long, bom = (read_answers(tmp_path / f"{name}.csv") for name in ("wide", "long", "bom"))
    assert wide.equals(bom) and wide.equals(long[wide.columns])
    assert wide.dropna()[["before", "after"]].to_numpy().tolist() == [[0, 1], [0, 0]] and len(wide) == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a.csv:1: the first line has to name the columns"),
        ("before,after\n0,1\n", "with respondent, image or both; not before,after"),
        ("image,before,after,extra\na,0,1,2\n", "not image,before,after,extra"),
        ("image,image,before,after\na,a,0,1\n", "not image,image,before,after"),
        ("image,before,answer\na,0,1\n", "not image,before,answer"),
        ("image,before,after\na,0\n", "a.csv:2: 2 columns, where the first line has 3"),
        ("image,before,after\na,0,1\n,0,1\n", "a.csv:3: the image has no name"),
        ("image,before,after\na,0,yes\n", "a.csv:2: the answer is 'yes'; it is 1 (right), 0 (not), a score, or empty"),
        ("image,before,after\na,0,nan\n", "the answer is 'nan'"),
        ("image,before,after\na,0,1_0\n", "the answer is '1_0'"),
        ("image,before,after\na,0,1\nb,1,1\na,0,1\n", "a.csv:4: an answer of image a that came before"),
        ("image,condition,answer\na,before,0\na,before,1\n", "a.csv:3: an answer of image a that came before"),
        ("image,condition,answer\na,between,0\n", "a.csv:2: the condition is 'between'; it is before or after"),
        ("image,before,after\na,0.5,1\n", "a.csv has no test: scores need two respondents or two images"),
        ("image,before,after\na,,1\n", "a.csv has no pair of answers, before and after"),
        ('image,before,after\n"a,0,1\n', "no CSV"),
        ("image,before,after\n\u00e9,0,1\n".encode("latin-1"), "it is not UTF-8"),
    ],
)  # fmt: skip
def test_other_files_are_refused_in_one_line(tmp_path, text, says, command):
    path = tmp_path / "a.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    status, out, error = command("survey", path)
    assert status == 2 and not out and says in error and error.startswith("xaibench: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "name a CSV file of answers, or published numbers by --counts or --t, or --choices; and only"),
        (("a.csv", "--counts", "1,2"), "and only one of these"), (("a.csv", "--t", "1,2"), "and only one of these"),
        (("--counts", "1"), "--counts '1' is not two or four whole numbers, such as 19,80 or 310,19,80,251"),
        (("--counts", "1,2,3"), "is not two or four"), (("--counts", "1,-2"), "is not two or four"),
        (("--counts", "1,2.5"), "is not two or four"), (("--counts", ""), "is not two or four"),
        (("--t", "2"), "--t '2' is not t and its degrees of freedom, such as -4.42,5"),
        (("--t", "nan,5"), "is not t"), (("--t", "2,0"), "is not t"), (("--t", "2,1.5"), "is not t"),
        (("nowhere.csv",), "nowhere.csv cannot be read"),
    ],
)  # fmt: skip
def test_other_requests_are_refused_in_one_line(words, says, command):
    status, out, error = command("survey", *words)
    assert status == 2 and not out and says in error and error.count("\n") == 1


def test_every_format(tmp_path, command):
    (tmp_path / "a.csv").write_text(WIDE + "bob,car-2,0,1\n")
    status, text, _ = command("survey", tmp_path / "a.csv")
    assert status == 0 and "3 pairs of answers of 2 respondents and 2 images; mean 0.0000 before" in text
    text = " ".join(text.split())
    assert "1 pair left out" in text and "2 answers changed: 2 from wrong to right, 0 from right to wrong." in text
    assert "McNemar's p, as papers publish it, is most often too small" in text
    rows = list(csv.DictReader(io.StringIO(command("survey", "--counts", "19,80", "--format", "csv")[1])))
    assert tuple(rows[0]) == COLUMNS and float(rows[0]["p"]) == pytest.approx(4.394e-10, rel=1e-3)
    value = json.loads(command("survey", "--counts", "19,80", "--t", "-4.42,5", "--format", "json")[1])
    assert value["counts"] == {"both_right": None, "lost": 19, "corrected": 80, "both_wrong": None}
    assert value["rows"][0]["estimate"] is None and value["rows"][1]["statistic"] == 19
    assert "| McNemar, exact | answers | 99 |" in command("survey", "--counts", "19,80", "--format", "md")[1]
    assert "4.4e-10</td>" in command("survey", "--counts", "19,80", "--format", "html")[1]


def test_without_statsmodels_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "statsmodels.stats.contingency_tables", None)
    with pytest.raises(XaibenchError, match=r"needs statsmodels: pip install 'xaibench\[survey\]'"):
        survey_of_published(Counts(None, 1, 2, None))


@pytest.mark.slow
def test_answers_of_one_respondent_are_not_independent():
    """60 respondents of six answers each, whose skill varies between the two times but is the same on average: McNemar
    rejects far too often, sign flips over respondents at the stated rate."""
    draws, rejected = np.random.default_rng(0), []
    table = pd.DataFrame([(f"r{r}", f"i{i}") for r in range(60) for i in range(6)], columns=["respondent", "image"])
    for _ in range(200):
        skill = draws.beta(0.7, 0.7, (2, 60)).repeat(6, axis=1)
        table["before"], table["after"] = (draws.random((2, 360)) < skill).astype(float)
        rows = rows_of(survey_of_answers(table, "a.csv"))
        rejected.append((rows[EXACT, "answers"]["p"] <= 0.05, rows["sign flips", "respondents"]["p"] <= 0.05))
    mcnemar, flips = np.mean(rejected, axis=0)
    assert mcnemar > 0.2 and flips <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200), (mcnemar, flips)
