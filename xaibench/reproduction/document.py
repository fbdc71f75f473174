"""The page of all studies: what each repeats, at which scales it runs, and every claim with its state."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from xaibench import registry
from xaibench.analysis.reproduction import Reproduction
from xaibench.analysis.stored import StoredResults
from xaibench.analysis.verdicts import UNTOLD, Measured, names_of
from xaibench.cards import StudyCard
from xaibench.cards.study import SCALES, Scale
from xaibench.files import read_bounded
from xaibench.report.reproduction_page import summary
from xaibench.report.table import Column, Table
from xaibench.report.text import markdown
from xaibench.reproduction.measure import StoredStudies, measured
from xaibench.reproduction.needs import needed
from xaibench.reproduction.reproduce import reproduce

HEAD = Path(__file__).with_name("document.md")
MEASURED: tuple[Scale, ...] = ("embedded", "real")  # scales whose results this project publishes
STUDIES = (
    Column("study", "the name of the study", align="left"), Column("item", "table or figure", align="left"),
    Column("shows", "what it shows", title="what it shows", align="left"),
    Column("runs", "the scales at which it runs", title="runs", align="left"),
    Column("paper", "what the paper's scale takes, or why it cannot run", title="on the paper's data", align="left"),
)  # fmt: skip
CLAIMS = (
    Column("claim", "its name", align="left"), Column("item", "table or figure", align="left"),
    Column("text", "what the paper says", title="the paper says", align="left"),
    *(Column(scale, f"its state at the scale {scale}", align="left") for scale in MEASURED),
    Column("why", "the numbers that decide", title="because", align="left"),
)  # fmt: skip


def document(folders: Sequence[Path], note: Callable[[str], None] = lambda line: None) -> str:
    """The page in Markdown, from the results folders alone: nothing is computed.

    Of a board that several folders have, the first one's counts. note is given a line per paper.
    """
    stored = StoredStudies(StoredResults(*folders, newest=registry.shipped_version))
    cards = [registry.card("study", name) for name in registry.names("study")]
    papers: dict[str, list[StudyCard]] = {}
    for card in sorted(cards, key=lambda card: _natural(card.name)):
        papers.setdefault(f"{card.paper.title} ({card.paper.year})", []).append(card)
    parts = [read_bounded(HEAD, 1 << 16).decode().rstrip()]
    counts: dict[str, int] = {}
    for title, own in papers.items():
        note(title)
        found = {card.name: _reproductions(card, stored) for card in own}
        rows = [row for card in own for row in _claims(card, found[card.name])]
        for row in rows:
            for scale in MEASURED:
                counts[row[scale]] = counts.get(row[scale], 0) + 1
        parts += [f"## {markdown(title)}", Table(STUDIES, pd.DataFrame([_study(card) for card in own])).to_markdown()]
        parts += [Table(CLAIMS, pd.DataFrame(rows)).to_markdown()] if rows else []
        parts += ["\n".join(lines)] if (lines := list(_numbers(own, found))) else []
    told = ", ".join(f"{state}: {counts[state]}" for state in sorted(counts) if state)
    parts.insert(1, f"States of all claims at the scales {' and '.join(MEASURED)}: {told}." if told else "No claims.")
    return "\n\n".join(parts) + "\n"


def _reproductions(card: StudyCard, stored: StoredStudies) -> dict[Scale, Reproduction]:
    """By scale; where nothing is stored, claims say what is lacking."""
    found: dict[Scale, Reproduction] = {}
    for scale in MEASURED:
        one = card.scales.get(scale)
        if one is None:
            continue
        if not one.runs_something:
            named = [name for claim in card.claims for name in names_of(claim)]
            found[scale] = reproduce(card, scale, Measured({}, {}, {}, dict.fromkeys(named, one.missing)))
            continue
        found[scale] = reproduce(card, scale, measured(one, stored))
    return found


def _study(card: StudyCard) -> dict[str, str]:
    paper = card.scales.get("paper")
    takes = (needed(paper) or paper.missing) if paper else {"unseen": "not in the text at hand"}.get(card.content, "")
    runs = ", ".join(scale for scale in SCALES if scale in card.scales and card.scales[scale].runs_something)
    return {"study": card.name, "item": card.item, "shows": card.shows, "runs": runs or card.content, "paper": takes}


def _claims(card: StudyCard, found: dict[Scale, Reproduction]) -> Iterable[dict[str, str]]:
    for number, claim in enumerate(card.claims):
        verdicts = {scale: one.verdicts[number] for scale, one in found.items()}
        measured_at = {scale: one for scale, one in verdicts.items() if not found[scale].scores.empty}
        told = {scale: one for scale, one in measured_at.items() if one.state != UNTOLD} or measured_at or verdicts
        first, *others = told.items()
        why = first[1].why + "".join(f"; {scale}: {one.why}" for scale, one in others if one.why != first[1].why)
        states = {scale: verdicts[scale].state if scale in verdicts else "" for scale in MEASURED}
        yield {"claim": claim.name, "item": card.item, "text": claim.text, **states, "why": why}


def _numbers(cards: Sequence[StudyCard], found: dict[str, dict[Scale, Reproduction]]) -> Iterable[str]:
    """A line for each table whose printed numbers have any of ours beside them."""
    for card in cards:
        for scale, one in found[card.name].items():
            for beside in one.beside:
                if beside.count:
                    yield f"- {markdown(card.item)}, {scale}: {markdown(summary(beside))}"


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts table 2 before table 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
