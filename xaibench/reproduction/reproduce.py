"""A study from a card and what was measured: numbers beside each other, and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from xaibench import registry
from xaibench.analysis.arm import Arm
from xaibench.analysis.design_claims import study_of
from xaibench.analysis.group_claims import groups_of, scores_by_pair
from xaibench.analysis.paper_claims import decide
from xaibench.analysis.printed import Beside, beside
from xaibench.analysis.ranking import RANKED
from xaibench.analysis.reproduction import Reproduction
from xaibench.analysis.study import Study
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


def _beside(card: StudyCard, one: PrintedNumbers, measured: Measured) -> Beside:
    printed = numbers(card, one)
    ours = {name: _ours(one, one.ours.get(name, name.lower()), measured) for name in printed}
    return beside(printed, ours, quantity_of(card, one))


def quantity_of(card: StudyCard, one: PrintedNumbers) -> str:
    """What printed numbers are, such as `score` and `epg of guidance`, and where they stand if not in the study's item,
    such as `score, Table 4`; per cent are shares here."""
    judge = one.protocol or one.comparison
    of = f" of {judge}" if judge and judge not in one.value else ""
    where = f", {one.item}" if one.item not in ("", card.item) else ""
    return f"{one.value.removesuffix('_percent').replace('_', ' ')}{of}{where}"


def _ours(one: PrintedNumbers, name: str, measured: Measured) -> float:
    """The number of ours; NaN where there is none."""
    if one.comparison:
        study = study_of(measured.studies.get(one.comparison, ()), one.protocol)
        arm = study.arms.get(name) if study else None
        return np.nan if arm is None else _of_arm(one, arm)
    if one.accuracy:
        return measured.accuracies.get(name, np.nan)
    return _of_board(one, name, measured)


def _of_board(one: PrintedNumbers, name: str, measured: Measured) -> float:
    """The mean of a method on a board, by its metric or another one, over all images or those of a class, or of right
    or wrong predictions."""
    method, _, place = (one.method, "", one.run) if one.by == "class" else name.partition("@")
    run, _, metric = place.partition(":")
    board = measured.boards.get(run or one.run)
    if board is None or method not in set(board.table["method"]):
        return np.nan
    if one.by:
        wanted = {_plain(each) for each in ((name,) if one.by == "class" else one.group)}
        scores, groups = scores_by_pair(board, method, metric), groups_of(board, one.by).dropna().map(_plain)
        return float(scores[groups.reindex(scores.index).isin(wanted)].mean())
    if metric:
        return float(replace(board, metric=metric).image_scores()[method].mean())
    return float(board.table.set_index("method")["mean"][method])


def _plain(name: str) -> str:
    """A name of a class as papers and data sets may write it alike."""
    return name.lower().replace("_", " ")


def _of_arm(one: PrintedNumbers, arm: Arm) -> float:
    """The mean over the trainings of an arm: its accuracy on a group of images or on all, or its score."""
    if one.accuracy:
        group = next((name for name in one.group if name in arm.groups), None)
        if arm.correct is None or (one.group and group is None):
            return np.nan
        right = arm.correct[:, np.array(arm.groups) == group] if group else arm.correct
        return float(right.mean())
    if one.method and one.method not in arm.methods:
        return np.nan
    chosen = [kind in RANKED and one.method in ("", m) for m, kind in zip(arm.methods, arm.kinds, strict=True)]
    return float(arm.scores[..., chosen].mean())


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
