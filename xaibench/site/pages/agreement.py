"""Whether boards order methods alike: protocols on each model, models under each protocol, and seeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from xaibench.analysis.agreement import Agreement
from xaibench.errors import XaibenchError
from xaibench.report import columns
from xaibench.report.heatmap import number
from xaibench.report.pages import page_of
from xaibench.report.table import Column, Table
from xaibench.site.content import Content
from xaibench.site.page import Page
from xaibench.site.tables import DataTable, data_table
from xaibench.site.words import two_decimals

DEEPEST = 45  # per cent of a colour behind a tau of 1 or -1; text stays readable on it


@dataclass(frozen=True)
class Question:
    """Boards that differ in one thing alone: what that is, and which protocol, model and data set they share."""

    across: str
    heading: str
    protocol: str | None = None
    model: str | None = None
    dataset: str | None = None


def pages(content: Content) -> Iterator[Page]:
    """The one page, where any two boards differ in one thing alone."""
    parts = [part for place, one in enumerate(_questions(content), 1) if (part := _part(content, one, place))]
    if any(part["matrix"] for part in parts):
        yield Page("agreement.html", "agreement.html", "Agreement", "agreement", {"parts": parts})


def _questions(content: Content) -> Iterator[Question]:
    """What may be asked of these boards; that two boards share a name does not yet say that they are alike."""
    names = [(one.protocol, one.model, one.dataset) for one in content.current]
    seen = list(dict.fromkeys(names))
    for model, dataset in dict.fromkeys((model, dataset) for _, model, dataset in seen):
        if sum((m, d) == (model, dataset) for _, m, d in seen) > 1:
            yield Question("protocol", f"Protocols on {model}", model=model, dataset=dataset)
    for protocol, dataset in dict.fromkeys((protocol, dataset) for protocol, _, dataset in seen):
        if sum((p, d) == (protocol, dataset) for p, _, d in seen) > 1:
            yield Question("model", f"Models under {protocol}", protocol=protocol, dataset=dataset)
    for protocol, model, dataset in seen:
        if names.count((protocol, model, dataset)) > 1:
            for across in ("seed", "setting"):
                yield Question(across, f"{across.capitalize()}s of {protocol} on {model}", protocol, model, dataset)


def _part(content: Content, one: Question, place: int) -> dict[str, Any] | None:
    """A section of the page; for boards that look alike and are not, why there is none, and None for mere repeats."""
    chosen = [name and _literal(name) for name in (one.protocol, one.model, one.dataset)]
    try:
        found = content.agreement(one.across, *chosen)
    except XaibenchError as error:
        if one.across in ("seed", "setting"):  # asked of boards that differ in either
            return None
        return {"heading": one.heading, "matrix": None, "sentence": f"Not compared: {error}.", "place": place}
    page = page_of(found)
    pairs = data_table(f"pairs-{place}", Table(columns.AGREEMENT, found.table), f"{one.heading}: every two boards",
                       thing="pairs")  # fmt: skip
    boards = data_table(f"boards-{place}", Table(columns.AGREEING_BOARDS, found.boards), f"{one.heading}: reliability",
                        tools=False)  # fmt: skip
    return {
        "heading": one.heading, "place": place, "sentence": _sentence(found), "matrix": _matrix(found, one, place),
        "pairs": pairs, "boards": boards, "caption": page.caption, "notes": found.notes,
    }  # fmt: skip


def _literal(name: str) -> str:
    """A pattern that only this name fits."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def _sentence(found: Agreement) -> str:
    """The range of the correlations, and which boards are the furthest from each other."""
    known = found.table.dropna(subset=["tau"])
    if known.empty:
        return "No two of these boards have an order in common to compare."
    least = known.loc[known["tau"].idxmin()]
    least_text = f"{number(least['tau'])} between {least['first']} and {least['second']}"
    if len(known) == 1:
        return f"Kendall's tau of the two orders of methods is {least_text}."
    return f"Kendall's tau of two orders is {least_text}, the least, to {number(known['tau'].max())}, the most."


def _matrix(found: Agreement, one: Question, place: int) -> DataTable:
    """tau of every two boards, similar ones side by side, shaded by its size."""

    def shade(column: str, value: Any) -> str:
        if column == "name" or pd.isna(value):
            return ""
        tint = "--tint: var(--warn); " if value < 0 else ""
        return f"{tint}--shade: {abs(value) * DEEPEST:.0f}%"

    of = "Kendall's tau-b with this board"
    others = (Column(str(name), of, foreign=True, format=two_decimals) for name in found.matrix)
    table = Table((columns.BOARD, *others), found.matrix.rename_axis("name").reset_index())
    return data_table(f"tau-{place}", table, f"{one.heading}: Kendall's tau", shade=shade, wide=True, tools=False)
