"""A study from a card and what was measured: numbers beside each other, and verdicts."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from xaibench import registry
from xaibench.analysis.design_claims import study_of
from xaibench.analysis.paper_claims import decide
from xaibench.analysis.reproduction import Reproduction
from xaibench.analysis.study import Study
from xaibench.analysis.verdicts import Measured
from xaibench.cards import ComparisonArm, StudyCard
from xaibench.cards.study import Scale, StudyScale
from xaibench.reproduction.panels import panels
from xaibench.reproduction.printed import beside_printed


def reproduce(card: StudyCard, scale: Scale, measured: Measured) -> Reproduction:
    """Our numbers beside the printed ones, and a verdict on every claim."""
    card = named_at(card, scale)
    compared = tuple(beside_printed(card, one, measured) for one in card.printed if one.value)
    verdicts = tuple(decide(claim, measured) for claim in card.claims)
    shown = [study for name in measured.studies if (study := _shown(card, name, measured))]
    scores, kinds = _scores(measured, shown)
    metrics = [each.metric for each in [*measured.boards.values()] or shown]
    notes = [*dict.fromkeys(measured.lacking.values())]
    notes += [f"{name}: {board.age}" for name, board in measured.boards.items() if board.age]
    if scale != "paper" and compared:
        notes.append("other data and networks than the paper's: orders may be compared, sizes of numbers hardly")
    metric = metrics[0] if len(set(metrics)) == 1 else ""
    drawn = panels(card, measured, compared, _arms(card, scale))
    return Reproduction(card, scale, compared, verdicts, scores, kinds, metric, tuple(notes), drawn)


def named_at(card: StudyCard, scale: Scale) -> StudyCard:
    """The card whose claims and printed numbers call models, arms, boards and classes by their names at a scale, and
    whose printed numbers stand beside boards where the scale has runs in the place of a comparison."""
    one = card.scales.get(scale, StudyScale())

    def named(arm: str) -> str:
        model, colon, rest = arm.rpartition(": ")
        return f"{one.names.get(model, model)}{colon}{one.names.get(rest, rest)}"

    claims = []
    for claim in card.claims:
        pairs = (
            tuple((named(before), named(after)) for before, after in claim.pairs) if claim.comparison else claim.pairs
        )
        changes = {"run": named(claim.run), "groups": tuple(map(named, claim.groups)), "pairs": pairs}
        claims.append(claim.model_copy(update=changes))
    printed = []
    for each in card.printed:
        changes = {}
        if each.boards and each.comparison not in one.comparisons:
            changes = {"comparison": "", "protocol": "", "method": "", "ours": each.boards}
        elif each.comparison or each.accuracy:
            changes = {"ours": {name: named(ours) for name, ours in each.ours.items()}}
        printed.append(each.model_copy(update=changes))
    return card.model_copy(update={"claims": tuple(claims), "printed": tuple(printed)})


def _arms(card: StudyCard, scale: Scale) -> dict[str, dict[str, ComparisonArm]]:
    """The arms of the comparisons of a scale that a panel of lines is about."""
    wanted = {one.comparison for one in card.figure if one.kind == "lines"}
    every = card.scales[scale].comparisons if scale in card.scales else {}
    return {
        name: registry.card("comparison", fields["comparison"]).arms for name, fields in every.items() if name in wanted
    }


def _shown(card: StudyCard, comparison: str, measured: Measured) -> Study | None:
    """The study of a comparison whose scores are shown: of the first protocol that the card names, or the first."""
    every = (*card.figure, *card.printed, *card.claims)
    named = [one.protocol for one in every if one.comparison == comparison and one.protocol]
    found = [study_of(measured.studies[comparison], name) for name in [*named, ""]]
    return next((study for study in found if study is not None), None)


def _scores(measured: Measured, shown: Sequence[Study]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Mean scores by method (rows) and board, or arm of the shown studies where there are no boards (columns), and the
    kinds of methods."""
    columns, kinds = {}, {}
    for name, board in measured.boards.items():
        table = board.table.set_index("method")
        columns[name] = table["mean"]
        kinds |= table["kind"].to_dict()
    for arm in [arm for study in shown for arm in study.arms.values()] if not columns else ():
        columns.setdefault(arm.name, pd.Series(arm.scores.mean(axis=(0, 1)), index=list(arm.methods)))
        kinds |= dict(zip(arm.methods, arm.kinds, strict=True))
    return pd.DataFrame(columns), kinds
