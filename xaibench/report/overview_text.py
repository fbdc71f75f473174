"""The table of a comparison under several protocols, for a terminal and in Markdown."""

from __future__ import annotations

from typing import Any

import pandas as pd

from xaibench.analysis.overview import Overview
from xaibench.report.board_text import format_cell, frame_text, markdown, markdown_table, page

SHARES = ("accuracy", "worst_group")


def caption(found: Overview) -> str:
    """What the numbers mean."""
    words = "Means over the trainings of each arm"
    words += ", ± their standard deviation (n - 1)" if found.table["trainings"].max() > 1 else ""
    if found.lower:
        words += f"; lower is better in {', '.join(found.lower)}"
    return f"{words}. accuracy: as in the tables of the protocols."


def to_text(found: Overview, width: int | None, colour: bool) -> str:
    """Title, table, caption."""
    return page(found.title, frame_text(in_words(found), width, colour, less=("trainings",)), caption(found), width)


def to_markdown(found: Overview) -> str:
    """The same in Markdown."""
    lines = [f"**{markdown(found.title)}**", "", *markdown_table(in_words(found)), "", markdown(caption(found)), ""]
    return "\n".join(lines)


def in_words(found: Overview) -> pd.DataFrame:
    """The table with every number as words: shares in per cent, a deviation where there are several trainings."""
    columns = {}
    for name in found.table:
        pairs = zip(found.table[name], found.deviations[name], strict=True)
        columns[name] = [_words(name, mean, deviation) for mean, deviation in pairs]
    return pd.DataFrame(columns)


def _words(name: str, mean: Any, deviation: Any) -> str:
    if isinstance(mean, str) or name == "trainings" or pd.isna(mean):
        return format_cell(mean)
    times, digits, unit = (100, 1, " %") if name in SHARES else (1, 2, "") if name == "epoch_seconds" else (1, 3, "")
    spread = "" if pd.isna(deviation) else f" ± {deviation * times:.{digits}f}"
    return f"{mean * times:.{digits}f}{spread}{unit}"
