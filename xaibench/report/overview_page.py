"""The page of a comparison under several protocols."""

from __future__ import annotations

from typing import Any

import pandas as pd

from xaibench.report import columns
from xaibench.report.inputs import Overview
from xaibench.report.page import Page
from xaibench.report.table import Column, Table
from xaibench.report.text import format_value, records

SHARES = ("accuracy", "worst_group")


def overview_page(found: Overview) -> Page:
    """All arms and methods, a column for each protocol: means over trainings, with deviations for people."""
    caption = overview_caption(found)
    texts = formatted(found)
    known = {column.name: column for column in columns.OVERVIEW}
    shown = tuple(known.get(name) or Column(name, "mean score under this protocol", foreign=True) for name in texts)
    table = Table(shown, texts)
    value = {
        "title": found.title, "caption": caption, "lower_is_better": list(found.lower), "rows": records(found.table),
        "deviations": records(found.deviations),
    }  # fmt: skip
    return Page(found.title, caption, [table], [table, caption], Table(shown, found.table), value)


def overview_caption(found: Overview) -> str:
    """What the numbers mean."""
    text = "Means over the trainings of each arm"
    text += ", ± their standard deviation (n - 1)" if found.table["trainings"].max() > 1 else ""
    if found.lower:
        text += f"; lower is better in {', '.join(found.lower)}"
    if found.table["trainings"].min() < found.needed:
        text += f". No claim about a design: that takes {found.needed} trainings of each arm"
    return f"{text}. accuracy: as in the tables of the protocols."


def formatted(found: Overview) -> pd.DataFrame:
    """The table with every number as text: shares in per cent, a deviation where there are several trainings."""
    texts = {}
    for name in found.table:
        pairs = zip(found.table[name], found.deviations[name], strict=True)
        texts[name] = [_format(name, mean, deviation) for mean, deviation in pairs]
    return pd.DataFrame(texts)


def _format(name: str, mean: Any, deviation: Any) -> str:
    if isinstance(mean, str) or name == "trainings" or pd.isna(mean):
        return format_value(mean)
    times, digits, unit = (100, 1, " %") if name in SHARES else (1, 2, "") if name == "epoch_seconds" else (1, 3, "")
    spread = "" if pd.isna(deviation) else f" ± {deviation * times:.{digits}f}"
    return f"{mean * times:.{digits}f}{spread}{unit}"
