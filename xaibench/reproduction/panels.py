"""The numbers of a study's figure, panel by panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile

import numpy as np
import pandas as pd

from xaibench.analysis.correlation import both_metrics
from xaibench.analysis.design_claims import study_of
from xaibench.analysis.group_claims import groups_of, scores_by_pair
from xaibench.analysis.leaderboard import Leaderboard
from xaibench.analysis.printed import Beside
from xaibench.analysis.reproduction import Panel
from xaibench.analysis.study import Study
from xaibench.analysis.verdicts import Measured
from xaibench.cards import ComparisonArm, StudyCard
from xaibench.cards.study import Drawn
from xaibench.errors import XaibenchError

GROUPS = 8  # boxes of a box plot, of as many rows each
NOT_GIVEN = {"dilate": 0.0, "fraction": 1.0}  # options of guidance that an arm leaves as they are
Arms = Mapping[str, Mapping[str, ComparisonArm]]
"""The arms of comparisons as their cards have them, by the study's name of the comparison."""


def panels(
    card: StudyCard, measured: Measured, beside: Sequence[Beside], arms: Arms | None = None
) -> tuple[Panel, ...]:
    """Those panels of a card's figure that have numbers. arms: of the comparisons, for panels of lines."""
    makers = {"accuracy": _accuracy, "front": _front, "group-accuracy": _group_accuracy, "box-plot": _boxes}
    makers["seconds"] = _seconds
    makers["lines"] = lambda one, measured: _lines(one, measured, (arms or {}).get(one.comparison, {}))
    found = [makers[one.kind](one, measured) for one in card.figure if one.kind in makers]
    if any(one.kind == "bars" for one in card.figure):
        found += [Panel("bars", each.table[["name", "printed"]].set_axis(["name", "value"], axis=1), "", each.quantity)
                  for each in beside]  # fmt: skip
    if beside and any(one.kind == "beside" for one in card.figure):
        both = pd.concat([each.table.assign(series=each.quantity) for each in beside]).dropna()
        both = both.rename(columns={"printed": "x", "ours": "y"})[["x", "y", "series"]]
        found.append(Panel("beside", both.reset_index(drop=True), "printed", "ours"))
    return tuple(panel for panel in found if panel is not None and len(panel.table))


def _accuracy(one: Drawn, measured: Measured) -> Panel | None:
    """The best ranked mean of each board against the accuracy of its model."""
    rows = []
    for name, board in measured.boards.items():
        means = board.table.loc[board.table["rank"].notna(), "mean"]
        if len(means) and np.isfinite(measured.accuracies.get(name, np.nan)):
            best = means.max() if board.higher_is_better else means.min()
            rows.append((measured.accuracies[name], best, name, ""))
    metric = next((board.metric for board in measured.boards.values()), "")
    return Panel("points", pd.DataFrame(rows, columns=["x", "y", "series", "group"]), "accuracy", f"best {metric}")


def _study(one: Drawn, measured: Measured) -> Study | None:
    """The study of a panel's comparison and protocol; None where it has no results."""
    studies = measured.studies.get(one.comparison)
    return study_of(studies, one.protocol) if studies else None


def _front(one: Drawn, measured: Measured) -> Panel | None:
    """A point per training: the accuracy, and the mean score of a method or of all that are ranked."""
    study = _study(one, measured)
    if study is None:
        return None
    rows = []
    for arm in study.arms.values():
        model, _, name = arm.name.rpartition(": ")
        chosen = arm.ranked(one.method)
        if any(chosen) and arm.accuracies:
            scores = arm.scores[..., chosen].mean(axis=(1, 2))
            rows += [(x, y, name, model) for x, y in zip(arm.accuracies, scores, strict=True) if np.isfinite(x)]
    label = f"{study.metric}{f' of {one.method}' if one.method else ''}"
    return Panel("points", pd.DataFrame(rows, columns=["x", "y", "series", "group"]), "accuracy", label)


def _group_accuracy(one: Drawn, measured: Measured) -> Panel | None:
    """A point per training: the accuracy on all images, and on those of a group."""
    study = _study(one, measured)
    if study is None:
        return None
    arms = [arm for arm in study.arms.values() if arm.correct is not None]
    group = next((name for name in one.group if any(name in arm.groups for arm in arms)), None)
    rows = []
    for arm in (arm for arm in arms if group in arm.groups):
        model, _, name = arm.name.rpartition(": ")
        inside = np.array(arm.groups, dtype=object) == group
        rows += [(right.mean(), right[inside].mean(), name, model) for right in arm.correct]
    of = f"{one.comparison}: " if len(measured.studies) > 1 else ""
    table = pd.DataFrame(rows, columns=["x", "y", "series", "group"])
    return Panel("points", table, "accuracy on all images", f"{of}accuracy on {group}")


def _seconds(one: Drawn, measured: Measured) -> Panel | None:
    """The mean seconds of an epoch of each arm, over the trainings of which they are known."""
    study = _study(one, measured)
    if study is None:
        return None
    known = {arm.name: np.array(arm.seconds)[np.isfinite(arm.seconds)] for arm in study.arms.values()}
    rows = [(name, seconds.mean()) for name, seconds in known.items() if len(seconds)]
    return Panel("bars", pd.DataFrame(rows, columns=["name", "value"]), "", f"seconds of an epoch, {one.comparison}")


def _lines(one: Drawn, measured: Measured, cards: Mapping[str, ComparisonArm]) -> Panel | None:
    """A point per training over an option; a series for all arms that differ in nothing else. Arms without the option,
    and those whose lambda is 0, are series whose x is NaN: the levels to compare with."""
    study = _study(one, measured)
    if study is None:
        return None
    lines: dict[tuple, list[tuple[str, float, list[float]]]] = {}
    for arm in study.arms.values():
        model, _, name = arm.name.rpartition(": ")
        chosen = arm.ranked(one.method)
        if not any(chosen) or (one.accuracy and not arm.accuracies):
            continue
        values = list(arm.accuracies) if one.accuracy else arm.scores[..., chosen].mean(axis=(1, 2)).tolist()
        options = cards[name].options if name in cards else {}
        x = float(options.get(one.option, NOT_GIVEN.get(one.option, np.nan)))
        level = name not in cards or not cards[name].way or options.get("lambda") == 0 or np.isnan(x)
        others = sorted((key, str(value)) for key, value in options.items() if key != one.option)
        key = (model, name) if level else (model, *others)
        lines.setdefault(key, []).append((name, np.nan if level else x, values))
    rows = [
        (x, y, ", ".join(filter(None, [_shared(part), key[0]])))
        for key, part in lines.items()
        for _, x, values in part
        for y in values
        if np.isfinite(y)
    ]
    label = "accuracy" if one.accuracy else f"{study.metric}{f' of {one.method}' if one.method else ''}"
    return Panel("lines", pd.DataFrame(rows, columns=["x", "y", "series"]), one.option, label)


def _shared(part: Sequence[tuple[str, float, list[float]]]) -> str:
    """What the names of a line's arms begin with, up to a comma."""
    named = [name.split(", ") for name, *_ in part]
    same = takewhile(lambda words: len(set(words)) == 1, zip(*named, strict=False))
    return ", ".join(words[0] for words in same) or named[0][0]


def _boxes(one: Drawn, measured: Measured) -> Panel | None:
    """Scores of a method in groups of images, or of as many rows each by another metric."""
    board = measured.boards.get(one.run)
    if board is None or one.method not in set(board.table["method"]):
        return None
    if one.by:
        return _groups(one, board)
    rows = both_metrics(board, one.metric, per_root=one.per_root)
    rows = rows[rows["method"] == one.method].dropna(subset=["x", "y"]).sort_values("y")
    parts = [part for part in np.array_split(np.arange(len(rows)), GROUPS) if len(part)]
    found = [
        (f"{rows['y'].iloc[part[0]]:.0f} to {rows['y'].iloc[part[-1]]:.0f}", value)
        for part in parts
        for value in rows["x"].iloc[part]
    ]
    root = f" / root of {one.metric}" if one.per_root else ""
    return Panel("boxes", pd.DataFrame(found, columns=["group", "value"]), one.metric, f"{board.metric}{root}")


def _groups(one: Drawn, board: Leaderboard) -> Panel:
    """A method's scores of all images, and of each group, with the numbers of images. Groups that are not known are
    left out."""
    scores = scores_by_pair(board, one.method, one.metric)
    try:
        groups = groups_of(board, one.by).reindex(scores.index)
    except XaibenchError:  # neither labels nor predictions are stored
        groups = pd.Series(None, scores.index, dtype=object)
    parts = {"all": scores} | {name: scores[groups == name] for name in sorted(groups.dropna().unique())}
    found = []
    for name, part in parts.items():
        images = part.groupby(level=0).mean()
        found += [(f"{name} ({len(images)})", value) for value in images]
    return Panel("boxes", pd.DataFrame(found, columns=["group", "value"]), one.by, one.metric or board.metric)
