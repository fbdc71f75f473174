"""Judges: how the protocols of this folder do on networks whose function is known, from the table that ships."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pandas as pd

from xaibench.judging.columns import COLUMNS, images_text
from xaibench.judging.published import published_judges
from xaibench.report.table import Column, Table
from xaibench.report.text import format_share
from xaibench.site.content import Content
from xaibench.site.page import Page
from xaibench.site.pages.boards import interval_column
from xaibench.site.tables import Row, data_table
from xaibench.site.words import listed

JUDGED = {column.name: column for column in COLUMNS}
SHOWN = (
    JUDGED["protocol"], Column("boards", "current boards of this folder that it scores", title="boards here"),
    JUDGED["about"], JUDGED["against"],
    Column("wrong", "pairs in the wrong order, for the truth that it is held against", "wrong", format=format_share),
    Column("needed", "images that tell two neighbouring steps apart, the median; never: more than 100 000", "images",
           format=images_text),
    JUDGED["attack"], JUDGED["gap"], JUDGED["stable"],
)  # fmt: skip
HELD = {"wrong": "discordant", "ci_low": "low", "ci_high": "high", "needed": "images"}


def pages(content: Content) -> Iterator[Page]:
    """The table of judged protocols; no page where none of them scores a board of this folder."""
    boards = Counter(one.protocol for one in content.current)
    found = published_judges()
    here = [name for name in found["protocol"] if name in boards]
    if not here:
        return
    rows = found.assign(
        boards=[boards[name] for name in found["protocol"]], **{name: _held(found, HELD[name]) for name in HELD}
    )
    lacking, networks = sorted(set(boards) - set(here)), int(found["networks"].max())

    def style(row: Row) -> str:
        return "quiet" if row["networks"] < networks else "lead" if row["boards"] else "rest"

    values = {
        "table": data_table(
            "judges", Table(SHOWN, rows), "Protocols on networks whose function is known", thing="protocols",
            drawings=[interval_column(rows, "wrong", "wrong", style)], style=style,
        ),
        "here": f"{listed(here)} {'was' if len(here) == 1 else 'were'}", "networks": networks,
        "lacking": listed(lacking) if lacking else "", "dim": bool((found["networks"] < networks).any()),
    }  # fmt: skip
    yield Page("judges.html", "judges.html", "Judges", "judges", values)


def _held(found: pd.DataFrame, part: str) -> pd.Series:
    """Of each protocol a number against the truth that it is held against, NaN without one."""
    return pd.Series([row.get(f"{part}_{row['held']}") for row in found.to_dict("records")], found.index, dtype=float)
