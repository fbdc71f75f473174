"""Design choices: the comparisons of a board folder, each with what it changes, method by method, and its trainings."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from xaibench.report import columns
from xaibench.report.table import Column, Table
from xaibench.site.content import Content
from xaibench.site.page import Page
from xaibench.site.pages.boards import WHY_AND_LAST, interval_column, row_style
from xaibench.site.studies import PairOfArms, SiteStudy, studies
from xaibench.site.tables import DataTable, data_table

WITHDRAWN = (
    Column("title", "the comparison, as it was published", title="comparison", align="left"), *WHY_AND_LAST,
)  # fmt: skip


def pages(content: Content) -> Iterator[Page]:
    """The list of comparisons, also of those that were withdrawn, and the page of each; none where there is none."""
    found = studies(content)
    withdrawn = content.index.withdrawn_comparisons if content.index else []
    if not found and not withdrawn:
        return
    table = None
    if withdrawn:
        rows = pd.DataFrame([one.model_dump() for one in withdrawn])
        table = data_table("withdrawn", Table(WITHDRAWN, rows), "What was withdrawn, and why", tools=False)
    yield Page("designs.html", "designs.html", "Designs", "designs", {"studies": found, "withdrawn": table})
    for one in found:
        yield Page(one.address, "design.html", one.study.title, "designs", _values(content, one))


def _values(content: Content, one: SiteStudy) -> dict[str, object]:
    study = one.study
    pairs = [
        {"pair": pair, "table": _changes(content, pair, f"pair-{number}")} for number, pair in enumerate(study.pairs, 1)
    ]
    trainings = data_table(
        "trainings", Table(columns.TRAININGS, pd.DataFrame(study.trainings)), "Every training", thing="trainings",
        selects=("arm",),
    )  # fmt: skip
    spread = None
    if study.spread:
        rows = Table(columns.SPREAD, pd.DataFrame(study.spread))
        spread = data_table("spread", rows, "Means of methods over trainings", thing="methods", style=row_style)
    return {"study": study, "pairs": pairs, "trainings": trainings, "spread": spread}


def _changes(content: Content, pair: PairOfArms, name: str) -> DataTable:
    table = pair.table
    drawings = [interval_column(table, "method", "change")] if {"ci_low", "change", "ci_high"} <= set(table) else []
    return data_table(
        name, Table(columns.CHANGES, table), f"Change of every method from {pair.before} to {pair.after}",
        thing="methods", drawings=drawings, style=row_style, selects=("verdict", "kind"),
        links={"method": lambda row: "../" + content.method_address(row["method"])
               if row["method"] in content.method_slugs else ""},
    )  # fmt: skip
