"""All claims of the papers on which results folders bear, with their state."""

from __future__ import annotations

import pandas as pd

from xaibench import registry
from xaibench.analysis.stored import StoredResults
from xaibench.analysis.verdicts import Measured, Verdict
from xaibench.cards import StudyCard, StudyScale
from xaibench.reproduction.measure import StoredStudies, measured
from xaibench.reproduction.reproduce import reproduce
from xaibench.results.cells import part_name

COLUMNS = ("claim", "paper", "item", "text", "state", "why", "scale", "study")


def claims_of(results: StoredResults) -> pd.DataFrame:
    """One row per claim and scale of which anything is stored, with `COLUMNS`, in the order of papers and studies.

    state: `shows`, `does not show` or `cannot be told`; why: the numbers that decide, or what is lacking.
    """
    stored = StoredStudies(results)
    there = {(part_name(board.context, "protocol"), part_name(board.context, "model")) for board in results.boards}
    rows = []
    for name in registry.names("study"):
        card = registry.card("study", name)
        for scale, one in card.scales.items():
            if not card.claims or not _may_be_stored(one, there):
                continue
            found = measured(one, stored)
            if found.boards or found.studies:
                verdicts = reproduce(card, scale, found).verdicts
                rows += [_row(card, scale, each) for each in verdicts if _bears_on(each, found)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _may_be_stored(one: StudyScale, there: set[tuple[str, str]]) -> bool:
    """Whether any request of a scale is about a protocol and a model that have boards; requests are not parsed."""
    models = {model for _, model in there}
    for fields in one.runs.values():
        if (fields.get("protocols", [""])[0], fields.get("model", "")) in there:
            return True
    for fields in one.comparisons.values():
        card = registry.card("comparison", fields["comparison"])
        named = {arm.model for arm in card.arms.values()} | {name for pair in card.pairs for name in pair}
        if models & {*fields.get("models", card.models), *named}:
            return True
    return False


def _bears_on(verdict: Verdict, found: Measured) -> bool:
    """Whether it is more than a note that nothing of it is stored."""
    return verdict.why not in found.lacking.values()


def _row(card: StudyCard, scale: str, verdict: Verdict) -> dict[str, str]:
    paper = f"{card.paper.title} ({card.paper.year})"
    return {
        "claim": verdict.claim, "paper": paper, "item": card.item, "text": verdict.text, "state": verdict.state,
        "why": verdict.why, "scale": scale, "study": card.name,
    }  # fmt: skip
