"""A study in words: what it repeats, what each scale runs and needs, and its claims."""

from __future__ import annotations

from collections.abc import Iterator

from xaibench.cards import StudyCard, StudyScale
from xaibench.reproduction.measure import comparison_requests, run_requests, training_command
from xaibench.reproduction.needs import needed
from xaibench.reproduction.reported import rows_of


def describe(card: StudyCard) -> str:
    """The text of `xaibench study show`."""
    lines = [f"{card.item}: {card.title}", f"{card.paper.title} ({card.paper.year})", "", card.shows]
    lines += [card.notes] if card.notes else []
    for scale, one in card.scales.items():
        lines += ["", f"scale {scale}:", *(f"  {line}" for line in _scale(one))]
    for one in card.printed:
        lines += ["", f"printed numbers: {one.file}, {len(rows_of(card, one))} rows, {one.value or 'not compared'}"]
    for claim in card.claims:
        lines += [
            "",
            f"{claim.name}: {claim.text}",
            f"  decided by: {claim.statistic}" + (claim.why and f", {claim.why}"),
        ]
    return "\n".join(lines)


def _scale(one: StudyScale) -> Iterator[str]:
    """What runs, as commands, and what it needs."""
    for name, fields in one.trainings.items():
        yield training_command(name, fields)
    for request in run_requests(one).values():
        yield " ".join(["xaibench run", *request.to_arguments()])
    for request in comparison_requests(one).values():
        yield " ".join(["xaibench compare", *request.to_arguments()])
    if one.missing:
        yield f"cannot run: {one.missing}"
    if text := needed(one):
        yield text
