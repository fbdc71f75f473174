"""A leaderboard across models as text, Markdown and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    from xaibench.analysis.across_models import AcrossModels

FIRST = 25  # pairs of model and method that a terminal shows


def caption(found: AcrossModels) -> str:
    """What the numbers mean."""
    end = "higher" if found.higher_is_better else "lower"
    words = (
        f"Mean {clean(found.metric)} ({end} is better) over the same {count(found.n_images, 'image')} for every model, "
        "with 95 % bootstrap intervals over images, for these fixed models. best: of the ranked method that is best on "
        "these images; mean: over the model's ranked methods."
    )
    return f"{words} Ranks are among all ranked pairs of model and method." if found.comparable else words


def to_text(found: AcrossModels, width: int | None, colour: bool) -> str:
    """The models, and the best pairs of model and method."""
    headers = ["rank", "model", "method", "mean", "ci_low", "ci_high", "ranks", "kind"]
    some = found.table[found.table["kind"] != "oracle"]  # they are at the top of every model
    shown = some.head(FIRST)
    lines = []
    for row in shown.to_dict("records"):
        ranks = "" if pd.isna(row["rank_low"]) else f"{row['rank_low']}-{row['rank_high']}"
        lines.append([ranks if name == "ranks" else format_cell(row[name]) for name in headers])
    body = [frame_text(format_accuracy(found.models), width, colour, less=("n_methods", "accuracy_on")), ""]
    body.append(text_table(headers, lines, width, colour, quiet=shown["rank"].isna().tolist(), less=("kind", "ranks")))
    if len(some) > FIRST:
        body += ["", f"... the first {FIRST} of {len(some)} pairs; --format csv has all, md all means"]
    return page(found.title, "\n".join(body), caption(found), width)


def to_markdown(found: AcrossModels) -> str:
    """The models, and the mean of every method on every model."""
    matrix = found.matrix.reset_index()
    lines = [f"**{markdown(found.title)}**", "", *markdown_table(format_accuracy(found.models)), ""]
    lines += [*markdown_table(matrix), "", markdown(caption(found)), "", *(f"- {markdown(n)}" for n in found.notes)]
    lines += [f"- {markdown(name)}: {markdown(title)}" for name, title in found.titles.items()]
    return "\n".join([*lines, ""])


def to_json(found: AcrossModels) -> str:
    """One JSON object, without NaN."""
    return json_of({
        "title": found.title, "metric": found.metric, "higher_is_better": found.higher_is_better,
        "comparable_across_models": found.comparable, "images": found.n_images, "caption": caption(found),
        "notes": list(found.notes), "boards": found.titles, "models": records(found.models),
        "rows": records(found.table),
    })  # fmt: skip
