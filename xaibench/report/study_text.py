"""A comparison of designs as text, Markdown and JSON. Names come from plug-ins and cards of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from xaibench.report.board_text import (
    clean,
    count,
    format_accuracy,
    format_cell,
    frame_text,
    json_of,
    markdown,
    markdown_table,
    page,
    records,
    text_table,
)

if TYPE_CHECKING:
    from xaibench.analysis.comparison import Comparison
    from xaibench.analysis.study import Study

ANSWERS = ("images", "count", "before", "after", "change", "ci_low", "ci_high", "verdict")
SHOWN = ("method", "before", "after", "change", "ci_low", "ci_high", "verdict", "kind")


def verdict(row: dict[str, Any]) -> str:
    """What the interval of a change says: better, worse, or nothing that is sure."""
    if not row["clear"]:
        return "not told apart"
    return "better" if row["better"] else "worse"


def headline(pair: Comparison) -> str:
    """One pair in a sentence: mean change with its interval, how many methods improve, whether the order stays."""
    words = (
        f"{clean(pair.before)} -> {clean(pair.after)}: mean change {pair.change:+.4f} "
        f"[{pair.low:+.4f}, {pair.high:+.4f}]; {pair.improved} of {count(pair.count, 'method')} improve, "
        f"{pair.clearly} clearly, {pair.worsened} get clearly worse"
    )
    if not pd.isna(pair.agreement):
        words += f"; Kendall's tau of the two orders {pair.agreement:.2f}"
    return f"{words}; {count(pair.images, 'image')}, {_trainings(pair)}"


def caption(study: Study) -> str:
    """What the numbers mean."""
    end = "higher" if study.higher_is_better else "lower"
    return (
        f"Mean {clean(study.metric)} ({end} is better) over the same images; change = second - first, with 95 % "
        "intervals of a nested bootstrap over trainings of each arm and over images. Controls and oracles are in no "
        "mean and no count. best: of the ranked method that is best for that training, chosen on these images."
    )


def to_text(study: Study, width: int | None, colour: bool) -> str:
    """Title, question, a block per pair, the arms and what they are."""
    card = study.card
    lines = [f"{clean(card.question)}" + (f" The paper says: {clean(card.claim)}" if card.claim else "")]
    for pair in study.pairs:
        lines += ["", headline(pair), "", _pair_table(pair, width, colour)]
        if (answers := _answers(pair, study)) is not None:
            lines += ["", "accuracy:", "", frame_text(answers, width, colour)]
    if study.spread is not None:
        lines += ["", "Between trainings of one design:", "", frame_text(study.spread, width, colour, less=("kind",))]
    lines += ["", frame_text(format_accuracy(study.summary), width, colour)]
    return page(study.title, "\n".join(lines), caption(study), width)


def to_markdown(study: Study) -> str:
    """The same in Markdown, with the title of every arm's board."""
    card = study.card
    lines = [f"**{markdown(study.title)}**", "", markdown(card.question)]
    if card.claim:
        lines += ["", f"The paper says: {markdown(card.claim)}"]
    lines += [
        "",
        *(f"- {markdown(headline(pair))}" for pair in study.pairs),
        "",
        *markdown_table(format_accuracy(study.summary)),
    ]
    for pair in study.pairs:
        lines += ["", f"**{markdown(pair.before)} to {markdown(pair.after)}**", "", *markdown_table(_shown(pair))]
        if (answers := _answers(pair, study)) is not None:
            lines += ["", "Accuracy:", "", *markdown_table(answers)]
    if study.spread is not None:
        lines += ["", "**Between trainings of one design**", "", *markdown_table(study.spread)]
    lines += ["", markdown(caption(study)), "", *(f"- {markdown(note)}" for note in study.notes), ""]
    return "\n".join([*lines, *(f"- {markdown(name)}: {markdown(title)}" for name, title in study.titles.items()), ""])


def to_json(study: Study) -> str:
    """One JSON object, without NaN."""
    pairs = [
        {
            "before": pair.before, "after": pair.after, "change": pair.change, "interval": [pair.low, pair.high],
            "improved": pair.improved, "clearly": pair.clearly, "clearly_worse": pair.worsened,
            "methods": pair.count, "kendall_tau": pair.agreement,
            "images": pair.images, "trainings": list(pair.trainings), "only_in_one": list(pair.missing),
            "rows": records(pair.table), "answers": None if pair.answers is None else records(pair.answers),
        }
        for pair in study.pairs
    ]  # fmt: skip
    return json_of({
        "comparison": study.card.name, "title": study.title, "question": study.card.question, "claim": study.card.claim,
        "metric": study.metric, "higher_is_better": study.higher_is_better, "pairs": pairs,
        "trainings": records(study.summary), "spread": None if study.spread is None else records(study.spread),
        "arms": study.titles, "notes": list(study.notes), "caption": caption(study),
    })  # fmt: skip


def _trainings(pair: Comparison) -> str:
    first, second = pair.trainings
    return f"{count(first, 'training')} each" if first == second else f"{first} against {second} trainings"


def _shown(pair: Comparison) -> pd.DataFrame:
    rows = pair.table.to_dict("records")
    return pair.table.assign(verdict=[verdict(row) for row in rows])[list(SHOWN)]


def _answers(pair: Comparison, study: Study) -> pd.DataFrame | None:
    """Changes in accuracy, where images are in groups or arms are trained in ways of their own."""
    if pair.answers is None or not (study.trained or len(pair.answers) > 1):
        return None
    return pair.answers.assign(verdict=[verdict(row) for row in pair.answers.to_dict("records")])[list(ANSWERS)]


def _pair_table(pair: Comparison, width: int | None, colour: bool) -> str:
    table = _shown(pair)
    lines = [[format_cell(row[name]) for name in SHOWN] for row in table.to_dict("records")]
    quiet = [row["kind"] in ("control", "oracle") for row in table.to_dict("records")]
    return text_table(list(SHOWN), lines, width, colour, quiet=quiet, less=("kind",))
