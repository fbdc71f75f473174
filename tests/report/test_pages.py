"""Pages of boards: one entry makes a column in every output, and no column of a board lacks its entry."""

from __future__ import annotations

import csv
import io
import json
from types import SimpleNamespace

import pandas as pd
import pytest

from xaibench import presentation
from xaibench.analysis import (
    accuracy,
    across_models,
    agreement,
    breakdown,
    comparison,
    correlation,
    leaderboard,
    meta_rank,
    pairwise,
    pareto,
    printed,
    ranking,
    reproduction,
    study,
    survey,
)  # fmt: skip
from xaibench.analysis.leaderboard import Leaderboard
from xaibench.report import columns
from xaibench.report.page import Bullets, Heading, Page
from xaibench.report.pages import LAYOUTS, page_of
from xaibench.report.table import Column, Table
from xaibench.report.text import UNRANKED_KINDS


@pytest.fixture
def board() -> Leaderboard:
    ranks = {name: pd.array([1, None], "Int64") for name in ("rank", "rank_low", "rank_high")}
    table = pd.DataFrame({
        "method": ["ig", "random"], "mean": [0.5, 0.125], "ci_low": 0.0, "ci_high": 1.0, "n_images": 4,
        "n_undefined": 0, "group": ["a", ""], "coverage": 1.0, "kind": ["method", "control"], **ranks,
    })  # fmt: skip
    context = {"protocol": {"name": "sds"}, "model": {"name": "<b>vgg16</b>"}}
    return Leaderboard(table[list(leaderboard.COLUMNS)], "ab", context, "sds", True, 4, 0, notes=("a note",))


def test_a_column_is_one_entry(board, monkeypatch):
    """The one change is the entry in `columns`; the column is then in all five outputs."""
    outputs = ("to_text", "to_markdown", "to_csv", "to_json", "to_html")
    before = {name: getattr(board, name)() for name in outputs}
    double = Column("double", "twice the mean", title="2 x mean", format="{:.1f} units".format,
                    value=lambda row: 2 * row["mean"])  # fmt: skip
    monkeypatch.setattr(columns, "LEADERBOARD", (*columns.LEADERBOARD, double))
    after = {name: getattr(board, name)() for name in outputs}
    for name in ("to_text", "to_markdown", "to_html"):
        assert "1.0 units" not in before[name] and "2 x mean" not in before[name]
        assert "1.0 units" in after[name] and "0.2 units" in after[name] and "2 x mean" in after[name]
    assert 'title="twice the mean"' in after["to_html"]
    assert [row["double"] for row in csv.DictReader(io.StringIO(after["to_csv"]))] == ["1.0", "0.25"]
    assert [row["double"] for row in json.loads(after["to_json"])["rows"]] == [1.0, 0.25]
    assert "double" not in before["to_csv"] and "double" not in before["to_json"]


@pytest.mark.parametrize(
    ("names", "entries"),
    [
        (leaderboard.COLUMNS, columns.LEADERBOARD), (breakdown.COLUMNS, columns.BREAKDOWN),
        (breakdown.GROUP_COLUMNS, columns.GROUPS), (correlation.COLUMNS, columns.CORRELATION),
        (across_models.COLUMNS, columns.ACROSS_MODELS), (across_models.MODEL_COLUMNS, columns.MODELS),
        (comparison.COLUMNS, columns.CHANGES), (accuracy.COLUMNS, columns.ACCURACY_CHANGES),
        (pairwise.COLUMNS, columns.PAIRS), (survey.COLUMNS, columns.SURVEY),
        (agreement.COLUMNS, columns.AGREEMENT), ((*printed.COLUMNS, "quantity"), columns.PRINTED),
        (reproduction.COLUMNS, columns.CLAIMS),
        ((*study.ARM_COLUMNS, *study.SOMETIMES), columns.TRAININGS),
    ],
)  # fmt: skip
def test_every_column_that_analysis_makes_has_an_entry_and_csv_its_order(names, entries):
    table = Table(entries, pd.DataFrame([dict.fromkeys(names, 0)]))
    assert table.to_csv().splitlines()[0] == ",".join(names)
    assert list(table.records()[0]) == list(names)
    assert all(entry.explanation for entry in entries)


def test_ranked_and_unranked_kinds_are_all_kinds():
    assert set(ranking.RANKED) | set(UNRANKED_KINDS) == {"method", "variant", "control", "oracle"}
    assert not set(ranking.RANKED) & set(UNRANKED_KINDS)


def test_a_result_is_printed_by_its_page(board, monkeypatch):
    page = page_of(board)
    assert isinstance(page, Page) and board.caption == page.caption
    for name in ("to_markdown", "to_csv", "to_json", "to_html"):
        assert getattr(board, name)() == getattr(page, name)()
    assert board.to_text(80, colour=True) == page.to_text(80, colour=True) != page.to_text(80)
    kinds = (Leaderboard, breakdown.Breakdown, correlation.Correlation, across_models.AcrossModels, study.Study,
             pairwise.Pairs, survey.Survey, agreement.Agreement, pareto.Pareto, meta_rank.MetaRank,
             reproduction.Reproduction)  # fmt: skip
    assert {kind.layout for kind in kinds} | {"overview"} == set(LAYOUTS)
    monkeypatch.setattr(presentation, "_page_of", lambda result: SimpleNamespace(to_csv=lambda: result.board))
    assert board.to_csv() == "ab"


def test_html_of_a_board_escapes_what_others_named(board):
    html = board.to_html()
    assert "<b>" not in html and html.count("&lt;b&gt;vgg16&lt;/b&gt;") == 1
    assert html.startswith("<section>\n<h2>sds") and html.rstrip().endswith("</section>")
    assert '<th scope="row" style="text-align: left">ig</th>' in html and "<p>Mean sds over 4 images" in html


def test_blocks_of_a_page_in_every_format():
    rows = Table((Column("n"),), pd.DataFrame({"n": [1]}))
    blocks = [Heading("a_b"), "text <i>", Bullets(["x*y"]), Bullets([]), rows]
    page = Page("t", "c", blocks[:3], blocks, rows, {"n": float("nan")})
    assert page.to_markdown() == "**t**\n\n**a\\_b**\n\ntext \\<i\\>\n\n- x\\*y\n\n| n |\n| --: |\n| 1 |\n"
    assert page.to_text() == "t\n\na_b\n\ntext <i>\n\n- x*y\n\nc"
    assert page.to_html().startswith(
        "<section>\n<h2>t</h2>\n<h3>a_b</h3>\n<p>text &lt;i&gt;</p>\n<ul>\n<li>x*y</li>\n</ul>\n<table>"
    )
    assert json.loads(page.to_json()) == {"n": None}
