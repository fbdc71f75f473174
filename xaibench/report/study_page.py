"""The page of a comparison of designs under one protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from xaibench.printing import clean
from xaibench.report import columns
from xaibench.report.inputs import Pair, Study
from xaibench.report.page import Block, Bullets, Heading, Page
from xaibench.report.table import Column, Table
from xaibench.report.text import UNRANKED_KINDS, count


def study_page(study: Study) -> Page:
    """Title, question, the change of every method for each pair of arms, and the trainings."""
    card, caption = study.card, study_caption(study)
    claim = f"The paper says: {card.claim}" if card.claim else ""
    trainings = Table(columns.TRAININGS, study.summary)
    terminal: list[Block] = [f"{card.question} {claim}" if claim else card.question]
    document: list[Block] = [card.question, *([claim] if claim else []), Bullets([*map(headline, study.pairs)])]
    document.append(trainings)
    for pair in study.pairs:
        changes, accuracy = _changes(pair), _accuracy_changes(pair, study)
        terminal += [headline(pair), changes, *(["accuracy:", accuracy] if accuracy else [])]
        document += [Heading(f"{pair.before} to {pair.after}"), changes, *(["Accuracy:", accuracy] if accuracy else [])]
    if study.spread is not None:
        spread = Table(columns.SPREAD, study.spread)
        terminal += ["Between trainings of one design:", spread]
        document += [Heading("Between trainings of one design"), spread]
    terminal.append(trainings)
    titles = [f"{name}: {title}" for name, title in study.titles.items()]
    document += [caption, Bullets(study.notes), Bullets(titles)]
    rows = Table(columns.CHANGES_OF_PAIRS, study.table)
    return Page(study.title, caption, terminal, document, rows, _value(study, caption))


def headline(pair: Pair) -> str:
    """One pair in a sentence: mean change with its interval, how many methods improve, whether the order stays."""
    text = (
        f"{clean(pair.before)} -> {clean(pair.after)}: mean change {pair.change:+.4f} "
        f"[{pair.low:+.4f}, {pair.high:+.4f}]; of {count(pair.count, 'method')} {pair.improved} better, "
        f"{pair.clearly} clearly, {pair.worsened} clearly worse"
    )
    if not pd.isna(pair.agreement):
        text += f"; Kendall's tau of the two orders {pair.agreement:.2f}"
    first, second = pair.trainings
    trainings = f"{count(first, 'training')} each" if first == second else f"{first} against {second} trainings"
    claim = "" if pair.enough else ": no claim about the design"
    return f"{text}; {count(pair.images, 'image')}, {trainings}{claim}"


def study_caption(study: Study) -> str:
    """What the numbers mean."""
    end = "higher" if study.higher_is_better else "lower"
    return (
        f"Mean {clean(study.metric)} ({end} is better) over the same images; change = second - first, with 95 % "
        f"intervals {' or '.join(interval_kinds(study))}. Controls and oracles are in no mean and no count. best: of "
        "the ranked method that is best for that training, chosen on these images, so it is too high where several are "
        "close."
    )


def interval_kinds(study: Study) -> list[str]:
    """Over what the intervals of the changes are."""
    single = {min(pair.trainings) == 1 for pair in study.pairs}
    words = {False: "over trainings and images (Student's t, degrees of freedom by Satterthwaite)",
             True: "over images for these networks alone (studentised bootstrap)"}  # fmt: skip
    return [words[kind] for kind in sorted(single)]


def _changes(pair: Pair) -> Table:
    return Table(
        columns.CHANGES, _with_trainings(pair.table, pair), quiet=pair.table["kind"].isin(UNRANKED_KINDS).tolist()
    )


def _accuracy_changes(pair: Pair, study: Study) -> Table | None:
    """Changes in accuracy, where images are in groups or arms are trained in ways of their own."""
    if pair.accuracy_changes is None or not (study.trained or len(pair.accuracy_changes) > 1):
        return None
    return Table(columns.ACCURACY_CHANGES, _with_trainings(pair.accuracy_changes, pair))


def _with_trainings(changes: pd.DataFrame, pair: Pair) -> pd.DataFrame:
    """Changes with what `columns.verdict` needs to know of the pair."""
    return changes.assign(enough_trainings=pair.enough)


def _value(study: Study, caption: str) -> dict[str, Any]:
    """What JSON has."""
    pairs = [
        {
            "before": pair.before, "after": pair.after, "change": pair.change, "interval": [pair.low, pair.high],
            "improved": pair.improved, "clearly": pair.clearly, "clearly_worse": pair.worsened,
            "methods": pair.count, "kendall_tau": pair.agreement,
            "images": pair.images, "trainings": list(pair.trainings), "enough_trainings": pair.enough,
            "only_in_one": list(pair.missing),
            "rows": _changes(pair).records(), "answers": _records(columns.ACCURACY_CHANGES, pair.accuracy_changes),
        }
        for pair in study.pairs
    ]  # fmt: skip
    return {
        "comparison": study.card.name, "title": study.title, "question": study.card.question, "claim": study.card.claim,
        "metric": study.metric, "higher_is_better": study.higher_is_better, "pairs": pairs,
        "trainings": _records(columns.TRAININGS, study.summary), "spread": _records(columns.SPREAD, study.spread),
        "arms": study.titles, "notes": list(study.notes), "caption": caption,
    }  # fmt: skip


def _records(known: Sequence[Column], table: pd.DataFrame | None) -> list[dict[str, Any]] | None:
    return None if table is None else Table(tuple(known), table).records()
