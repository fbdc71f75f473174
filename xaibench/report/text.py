"""Text of values and names for tables and figures. Names come from plug-ins and cards of others, so none is trusted."""

from __future__ import annotations

import html
import json
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from xaibench.files import plain
from xaibench.printing import clean
from xaibench.report.inputs import Board

MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|~&$"})
UNRANKED_KINDS = ("control", "oracle")
"""Kinds of methods that no board ranks: they are dim in a terminal and grey in figures."""


def markdown(text: Any) -> str:
    """Text in which no character means anything to Markdown or HTML."""
    return clean(text).translate(MARKDOWN)


def html_text(text: Any) -> str:
    """Text in which no character means anything to HTML, inside an element or a quoted attribute."""
    return html.escape(clean(text), quote=True)


def csv_value(value: Any) -> Any:
    """The value of a cell of CSV: text is clean, and an apostrophe goes before a first character by which a spreadsheet
    takes it for a formula."""
    if not isinstance(value, str):
        return value
    return f"'{clean(value)}" if value[:1] in tuple("=+-@\t\r") else clean(value)


def count(number: int, thing: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def share(value: float) -> str:
    """A part of a whole, in [0, 1], in per cent; never 100% when anything is missing."""
    return f"{value:.0%}" if value in (0, 1) else f"{min(value, 0.999):.1%}"


def format_value(value: Any) -> str:
    """A name as it is, a whole number, or a number with four decimals; empty where there is no value."""
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(int(value))


def format_share(value: Any) -> str:
    """A part of a whole in per cent; empty where there is no value."""
    return "" if pd.isna(value) else share(value)


def format_p(value: Any) -> str:
    """A p-value in [0, 1] with four decimals, or two digits where it is below 0.001; empty where there is none.

    >>> [format_p(p) for p in (1.0, 0.0312, 4.36e-10)]
    ['1.0000', '0.0312', '4.4e-10']
    """
    return "" if pd.isna(value) else f"{value:.4f}" if value >= 0.001 else f"{value:.2g}"


def format_short(value: Any) -> str:
    """A number without trailing zeros, such as `1` and `0.5`; empty where there is no value."""
    return "" if pd.isna(value) else f"{value:g}"


def format_two(value: Any) -> str:
    """A number with two decimals; empty where there is no value."""
    return "" if pd.isna(value) else f"{value:.2f}"


def format_cost(value: Any) -> str:
    """A number of passes or seconds with three digits, whole from 100 on; empty where there is no value.

    >>> [format_cost(value) for value in (0.0, 0.012345, 3.0, 65.25, 24000.0)]
    ['0', '0.0123', '3', '65.2', '24000']
    """
    if pd.isna(value):
        return ""
    return f"{value:.0f}" if value >= 99.95 else f"{value:.3g}"


def direction(board: Board) -> str:
    """Which end of the scores is the better one, if either is."""
    if not board.has_direction:
        return "it only describes"
    return f"{'higher' if board.higher_is_better else 'lower'} is better"


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a data frame as dicts, None where there is no value."""
    return without_missing(table.to_dict("records"))


def without_missing(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with None in the place of every missing value, such as NaN."""
    return [{key: None if pd.isna(value) else value for key, value in row.items()} for row in rows]


def fill(text: str, width: int | None) -> str:
    """A paragraph for a terminal of `width` columns: lines of 72 to 100 characters, 100 where there is no width."""
    return textwrap.fill(text, min(max(width or 1000, 72), 100))


def json_text(value: dict[str, Any]) -> str:
    """One JSON object, with null in the place of NaN and infinities."""
    return json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False)
