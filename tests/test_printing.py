"""No name, command or message of others drives a terminal or a spreadsheet, by whatever way it is printed."""

from __future__ import annotations

import csv
import io

import pandas as pd
import pytest

from xaibench.cli.output import echo
from xaibench.printing import clean, clean_lines, say
from xaibench.progress import bar
from xaibench.report.table import Column, Table

EVIL = "\x1b]0;title\x07\x1b[31mred\x9b2J\u202e\udc80\b"


def harmless(text: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in text)


def test_control_characters_become_question_marks():
    assert clean("a\nb\x1b[2J") == "a?b?[2J"
    assert clean(EVIL) == "?]0;title??[31mred?2J???"
    assert clean_lines("a\tb\r\nc\x07") == "a b\nc?"
    assert clean("Größe 日本 é 🦉") == "Größe 日本 é 🦉"


def test_all_ways_to_print_are_clean(capsys):
    echo(f"one\n{EVIL}")
    echo(EVIL, err=True)
    say(f"three\n{EVIL}")
    with bar(EVIL, 1) as progress:
        progress.advance(1, EVIL)
    out, err = capsys.readouterr()
    assert harmless(out) and harmless(err) and "three" in err and err.count("title") == 4


def test_markup_in_a_name_is_no_error_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with bar("[/red] [bold]x", 1) as progress:
        progress.advance(1, "[/nothing]")


@pytest.mark.parametrize("first", "=+-@\t\r")
def test_no_cell_of_csv_is_a_formula(first):
    table = Table(
        (Column("name", align="left"), Column("mean")), pd.DataFrame({"name": [f"{first}cmd"], "mean": [-1.5]})
    )
    (row,) = csv.DictReader(io.StringIO(table.to_csv()))
    assert row["name"] == "'" + clean(f"{first}cmd") and float(row["mean"]) == -1.5
