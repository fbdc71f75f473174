"""Numbers of ours beside those that a paper prints: means of boards and of arms of comparisons, and accuracies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xaibench.analysis.arm import Arm
from xaibench.analysis.design_claims import study_of
from xaibench.analysis.group_claims import groups_of, scores_by_pair
from xaibench.analysis.printed import Beside, beside
from xaibench.analysis.verdicts import Measured
from xaibench.cards import PrintedNumbers, StudyCard
from xaibench.errors import XaibenchError
from xaibench.reproduction.reported import numbers


def beside_printed(card: StudyCard, one: PrintedNumbers, measured: Measured) -> Beside:
    """Printed numbers and ours; NaN where there is none of ours."""
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
        try:
            groups = groups_of(board, one.by).dropna().map(_plain)
        except XaibenchError:  # no row says whether its prediction is right
            return np.nan
        scores = scores_by_pair(board, method, metric)
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
    return float(arm.scores[..., arm.ranked(one.method)].mean())
