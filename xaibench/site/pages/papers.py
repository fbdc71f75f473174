"""Papers: their claims of which this folder has results, with what the results say of each."""

from __future__ import annotations

from collections.abc import Iterator

from xaibench.report.table import Column, Table
from xaibench.reproduction.claims import claims_of
from xaibench.site.content import Content
from xaibench.site.page import Page
from xaibench.site.tables import data_table

CLAIMS = (
    Column("claim", "its name", align="left"), Column("paper", "the paper that makes it", align="left"),
    Column("item", "table or figure", align="left"),
    Column("text", "what it says", title="the paper says", align="left"),
    Column("state", "what the results of this folder say", title="here", align="left"),
    Column("why", "the numbers that decide, or what is lacking", title="because", align="left"),
    Column("scale", "embedded: drawn images; real: photos; paper: the paper's data", title="data", align="left"),
    Column("study", "its name for `xaibench study`", align="left"),
)  # fmt: skip


def pages(content: Content) -> Iterator[Page]:
    """The table of claims; no page for a folder without results of any."""
    found = claims_of(content.results)
    if found.empty:
        return
    counts = found["state"].value_counts()
    values = {
        "table": data_table("claims", Table(CLAIMS, found), "Claims of papers", thing="claims",
                            selects=("state", "paper", "scale"), wide=True),
        "states": [(state, int(counts[state])) for state in sorted(counts.index)],
    }  # fmt: skip
    yield Page("papers.html", "papers.html", "Papers", "papers", values)
