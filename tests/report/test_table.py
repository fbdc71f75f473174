"""Tables in all five formats against texts written by hand, and against other people's parsers."""

from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from xaibench.report.table import FOR_PROGRAMS, ON_SCREEN, Column, Table
from xaibench.report.text import format_share, share

NAME = Column("name", "who it is", align="left", wraps=True)
SCORE = Column("score", "how good it is")
COUNT = Column("n", "how many", title="number")
HOSTILE = '[red]a|b[/red] <b>&amp;"*x*'


@pytest.fixture
def table() -> Table:
    rows = pd.DataFrame({
        "name": ["one", "two", None], "score": [0.123456789, np.nan, -2.0], "n": pd.array([1, None, 1234567], "Int64"),
    })  # fmt: skip
    return Table((NAME, SCORE, COUNT), rows, caption="What it means.", notes=("a note",))


class Parsed(HTMLParser):
    """What a browser makes of a table: the texts of its cells, row by row, and the attributes of each."""

    def __init__(self, text: str):
        super().__init__()
        self.rows, self.attributes, self.tags, self.inside = [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
            self.attributes.append([])
        self.inside = tag in ("th", "td")
        if self.inside:
            self.rows[-1].append("")
            self.attributes[-1].append({"tag": tag, **dict(attributes)})

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data


def test_text_by_hand(table):
    assert table.to_text() == (
        "name        score   number\n"
        "one        0.1235        1\n"
        "two\n"
        "          -2.0000  1234567\n"
        "\n"
        "What it means.\n"
        "\n"
        "a note"
    )


def test_markdown_by_hand(table):
    assert table.to_markdown() == (
        "| name | score | number |\n"
        "| :-- | --: | --: |\n"
        "| one | 0.1235 | 1 |\n"
        "| two |  |  |\n"
        "|  | -2.0000 | 1234567 |\n"
        "\n"
        "What it means.\n"
        "\n"
        "- a note"
    )


def test_csv_and_json_have_keys_and_full_precision(table):
    assert table.to_csv() == "name,score,n\none,0.123456789,1\ntwo,,\n,-2.0,1234567\n"
    value = json.loads(table.to_json(), parse_constant=lambda word: pytest.fail(word))
    assert value["rows"] == [
        {"name": "one", "score": 0.123456789, "n": 1}, {"name": "two", "score": None, "n": None},
        {"name": None, "score": -2.0, "n": 1234567},
    ]  # fmt: skip
    assert value["columns"][2] == {"name": "n", "title": "number", "explanation": "how many"}
    assert (value["caption"], value["notes"]) == ("What it means.", ["a note"])


def test_html_is_a_plain_table_whose_headers_have_scopes(table):
    parsed = Parsed(table.to_html())
    assert parsed.rows == [["name", "score", "number"], ["one", "0.1235", "1"], ["two", "", ""],
                           ["", "-2.0000", "1234567"]]  # fmt: skip
    head, first = parsed.attributes[:2]
    assert [cell["scope"] for cell in head] == ["col"] * 3 and head[1]["title"] == "how good it is"
    assert [(cell["tag"], cell.get("scope")) for cell in first] == [("th", "row"), ("td", None), ("td", None)]
    assert [cell["style"] for cell in first] == ["text-align: left", "text-align: right", "text-align: right"]
    assert {"table", "caption", "thead", "tbody", "ul", "li"} <= set(parsed.tags)


def test_names_and_titles_of_others_become_no_markup(table):
    column = Column("x", HOSTILE, title=HOSTILE, align="left", foreign=True)
    table = Table((column,), pd.DataFrame({"x": [HOSTILE, "two\nlines\x1b[31m"]}), HOSTILE, (HOSTILE,))
    text = table.to_text()
    assert text.count(HOSTILE) == 4 and "two?lines?[31m" in text and "\x1b" not in text
    html = table.to_html()
    parsed = Parsed(html)
    assert parsed.rows == [[HOSTILE], [HOSTILE], ["two?lines?[31m"]] and parsed.attributes[0][0]["title"] == HOSTILE
    assert "b" not in parsed.tags and html.count("<b>") == 0
    lines = table.to_markdown().splitlines()[:4]
    assert {line.replace("\\|", "").count("|") for line in lines} == {2} and "<b>" not in table.to_markdown().replace(
        "\\<", ""
    )
    assert next(csv.DictReader(io.StringIO(table.to_csv())))["x"] == HOSTILE


def test_a_column_may_be_computed_hidden_or_left_to_some_outputs(table):
    double = Column("double", value=lambda row: 2 * row["score"], outputs=FOR_PROGRAMS)
    rows = pd.DataFrame({"name": ["one"], "score": [0.25], "whole": [1.0]})
    whole = Column("whole", format=format_share, hidden_if=lambda values: all(value == 1 for value in values))
    made = Table((NAME, SCORE, double, whole, Column("absent")), rows)
    assert made.to_csv() == "name,score,double,whole\none,0.25,0.5,1.0\n"
    assert made.records() == [{"name": "one", "score": 0.25, "double": 0.5, "whole": 1.0}]
    assert made.to_text() == "name       score\none       0.2500"
    assert made.to_markdown().splitlines()[0] == "| name | score | whole |"
    half = Table(made.columns, rows.assign(whole=0.5))
    assert half.to_text().splitlines()[1].split() == ["one", "0.2500", "50.0%"]
    assert Parsed(half.to_html()).rows[0] == ["name", "score", "whole"] and "html" in ON_SCREEN


def test_a_narrow_terminal_drops_columns_in_their_order():
    first, second = (Column(name, align="left", wraps=True, dropped=place) for name, place in (("a", 2), ("b", 1)))
    rows = pd.DataFrame({"a": ["x" * 30], "b": ["y" * 30], "c": ["z" * 30]})
    table = Table((first, second, Column("c", align="left", wraps=True)), rows)
    assert "y" in table.to_text(100) and table.to_text(100).splitlines()[0].split() == ["a", "b", "c"]
    assert table.to_text(72).splitlines()[0].split() == ["a", "c"]
    longer = Table(table.columns, rows.assign(a="x" * 36, c="z" * 36))
    assert longer.to_text(72).splitlines()[0].split() == ["c"]
    assert max(map(len, longer.to_text(72).splitlines())) <= 72


def test_dim_rows_and_gaps():
    table = Table((NAME,), pd.DataFrame({"name": ["one", "two"]}), quiet=(True, False), gaps=(0,))
    assert table.to_text().splitlines() == ["name", "one", "", "two"]
    lines = table.to_text(80, colour=True).splitlines()
    assert "\x1b[2m" in lines[1] and "\x1b[2m" not in lines[3]


def test_texts_that_are_formatted_already():
    assert Table.of_text(["a", "a"], [["1", "22"]]).to_text() == "a   a\n1  22"


def test_shares_never_round_to_all_of_it():
    assert [share(value) for value in (0, 1, 0.5, 0.9999)] == ["0%", "100%", "50.0%", "99.9%"]
    assert format_share(float("nan")) == ""
