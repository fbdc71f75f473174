"""The page of a study: our numbers beside the printed ones, and a verdict on each claim."""

from __future__ import annotations

from typing import Any

import pandas as pd

from xaibench.report import columns
from xaibench.report.inputs import BesideNumbers, Reproduction
from xaibench.report.page import Block, Bullets, Heading, Page
from xaibench.report.table import Table
from xaibench.report.text import count


def reproduction_page(found: Reproduction) -> Page:
    """Title, what it shows, printed numbers with ours, claims with their state, and notes."""
    paper = f"{found.card.paper.title} ({found.card.paper.year}). {found.card.shows}"
    claims = Table(columns.CLAIMS, found.claims)
    blocks: list[Block] = [paper]
    for one in found.beside:
        blocks += [Heading(summary(one)), Table(columns.PRINTED, one.table)]
    if len(found.claims):
        blocks += [Heading("Claims"), claims]
    caption = reproduction_caption(found)
    document = [*blocks, caption, *([Bullets(found.notes)] if found.notes else [])]
    value: dict[str, Any] = {
        "study": found.card.name, "title": found.title, "scale": found.scale, "paper": found.card.paper.title,
        "caption": caption, "notes": list(found.notes), "claims": claims.records(),
        "printed": [
            {"quantity": one.quantity, "rank_correlation": one.rho, "both": one.count, 
             "largest_difference": one.largest, "farthest": one.farthest, 
             "rows": Table(columns.PRINTED, one.table).records()}
            for one in found.beside
        ],
    }  # fmt: skip
    rows = [one.table.assign(quantity=one.quantity) for one in found.beside]
    table = Table(columns.PRINTED, pd.concat(rows, ignore_index=True)) if rows else claims
    return Page(found.title, caption, blocks, document, table, value)


def summary(one: BesideNumbers) -> str:
    """Printed numbers and ours in a sentence."""
    text = f"{one.quantity}: ours of {one.count} of {count(len(one.table), 'printed number')}"
    if not pd.isna(one.rho):
        text += f", rank correlation {one.rho:+.2f}"
    if one.farthest:
        text += f", largest difference {one.largest:+.3f} ({one.farthest})"
    return text


def reproduction_caption(found: Reproduction) -> str:
    """What the states of claims mean."""
    if not len(found.claims):
        return "difference = ours - printed."
    return (
        "difference = ours - printed. A claim shows, or does not (the opposite is established), by paired sign-flip "
        "tests over the images of a board, or by intervals over at least five trainings of each arm and over images, "
        "at 95 %; where these leave both open it cannot be told. The states are those of these networks and images."
    )
