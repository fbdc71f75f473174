"""A study from a card and what was measured: numbers beside each other, and verdicts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from xaibench import registry
from xaibench.analysis.design_claims import study_of
from xaibench.analysis.paper_claims import decide
from xaibench.analysis.printed import Beside, beside
from xaibench.analysis.ranking import RANKED
from xaibench.analysis.reproduction import Reproduction
from xaibench.analysis.verdicts import Measured
from xaibench.cards import ComparisonArm, PrintedNumbers, StudyCard
from xaibench.cards.study import Scale, StudyScale
from xaibench.reproduction.panels import panels
from xaibench.reproduction.reported import numbers


def reproduce(card: StudyCard, scale: Scale, measured: Measured) -> Reproduction:
    """Our numbers beside the printed ones, and a verdict on every claim."""
    card = named_at(card, scale)
    compared = tuple(_beside(card, one, measured) for one in card.printed if one.value)
    verdicts = tuple(decide(claim, measured) for claim in card.claims)
    scores, kinds = _scores(measured)
    boards = [*measured.boards.values()]
    metrics = [board.metric for board in boards] or [found[0].metric for found in measured.studies.values() if found]
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


def _beside(card: StudyCard, one: PrintedNumbers, measured: Measured) -> Beside:
    printed = numbers(card, one)
    ours = {name: _ours(one, one.ours.get(name, name.lower()), measured) for name in printed}
    return beside(printed, ours, quantity_of(card, one))


def quantity_of(card: StudyCard, one: PrintedNumbers) -> str:
    """What printed numbers are, such as `score` and `epg of guidance`, and where they stand if not in the study's item,
    such as `score, Table 4`; per cent are shares here."""
    judge = one.protocol or one.comparison
    of = f" of {judge}" if judge not in ("", one.value) else ""
    where = f", {one.item}" if one.item not in ("", card.item) else ""
    return f"{one.value.removesuffix('_percent').replace('_', ' ')}{of}{where}"


def _ours(one: PrintedNumbers, name: str, measured: Measured) -> float:
    """The number of ours; NaN where there is none."""
    if one.accuracy:
        return measured.accuracies.get(name, np.nan)
    if one.comparison:
        if not measured.studies.get(one.comparison):
            return np.nan
        study = study_of(measured.studies[one.comparison], one.protocol)
        arm = study.arms.get(name) if study else None
        if arm is None or (one.method and one.method not in arm.methods):
            return np.nan
        chosen = [kind in RANKED and one.method in ("", m) for m, kind in zip(arm.methods, arm.kinds, strict=True)]
        return float(arm.scores[..., chosen].mean())
    method, _, run = name.partition("@")
    board = measured.boards.get(run or one.run)
    if board is None:
        return np.nan
    return float(board.table.set_index("method")["mean"].get(method, np.nan))


def _scores(measured: Measured) -> tuple[pd.DataFrame, dict[str, str]]:
    """Mean scores by method (rows) and board or arm (columns), and the kinds of methods."""
    columns, kinds = {}, {}
    for name, board in measured.boards.items():
        table = board.table.set_index("method")
        columns[name] = table["mean"]
        kinds |= table["kind"].to_dict()
    for studies in measured.studies.values() if not columns else ():
        for study in studies[:1]:
            for arm in study.arms.values():
                columns.setdefault(arm.name, pd.Series(arm.scores.mean(axis=(0, 1)), index=list(arm.methods)))
                kinds |= dict(zip(arm.methods, arm.kinds, strict=True))
    return pd.DataFrame(columns), kinds
