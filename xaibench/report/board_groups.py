"""Breakdowns and correlations of a board as text, Markdown and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from xaibench.report.board_text import (
    board_header,
    clean,
    count,
    direction,
    format_cell,
    json_of,
    markdown,
    markdown_table,
    page,
    records,
    share,
    text_table,
)

if TYPE_CHECKING:
    from xaibench.analysis.breakdown import Breakdown
    from xaibench.analysis.correlation import Correlation

QUIET = ("control", "oracle")


def breakdown_caption(found: Breakdown) -> str:
    """What the numbers mean: over what, which interval, what a group is, what was undefined."""
    board, every = found.board, found.groups.iloc[0]
    over = count(int(every["n_images"]), "image")
    if every["n_pairs"] != every["n_images"]:
        over = f"{every['n_pairs']} explained classes of {over}"
    kind = "what the model says is correct or not" if found.by == "correctness" else "the class"
    parts = [
        f"Mean {clean(board.metric)} ({direction(board)}) by {kind}, over {over}; each explained class of an image "
        "counts once, with 95 % bootstrap intervals over images, for this fixed model."
    ]
    undefined = int(found.table.loc[found.table["group"] == every["group"], "n_undefined"].sum())
    if undefined:
        parts.append(f"n_undefined: images with undefined maps, which count at {board.undefined_cost:g}.")
    return " ".join(parts)


def breakdown_text(found: Breakdown, width: int | None, colour: bool) -> str:
    """Title, one block of lines per group, and caption."""
    headers = [name for name in found.table.columns if name != "n_undefined" or found.table[name].any()]
    lines, quiet, blocks = [], [], []
    for group in found.groups.to_dict("records"):
        rows = found.table[found.table["group"] == group["group"]].to_dict("records")
        for number, row in enumerate(rows):
            words = {name: format_cell(row[name]) for name in headers}
            lines.append([words[name] if name != "group" or not number else "" for name in headers])
            quiet.append(row["kind"] in QUIET)
        lines[-len(rows)][0] = _name(group, found.by)
        blocks.append(len(lines) - 1)
    body = text_table(headers, lines, width, colour, quiet=quiet, less=("kind",), blocks=blocks[:-1])
    return page(found.title, body, found.caption, width)


def breakdown_markdown(found: Breakdown) -> str:
    """Title, the groups, the table and caption."""
    lines = [f"**{markdown(found.title)}**", "", *markdown_table(found.groups), "", *markdown_table(found.table)]
    return "\n".join([*lines, "", markdown(found.caption), ""])


def breakdown_json(found: Breakdown) -> str:
    """The board's facts with groups and rows."""
    value = board_header(found.board) | {
        "title": found.title, "by": found.by, "caption": found.caption, "notes": list(found.notes),
        "groups": records(found.groups), "rows": records(found.table), "context": found.board.context,
    }  # fmt: skip
    return json_of(value)


def correlation_caption(found: Correlation) -> str:
    """What r is over, which interval, and what was left out."""
    rows = found.table["n_rows"]
    over = f"{rows.min()}" if rows.min() == rows.max() else f"{rows.min()} to {rows.max()}"
    parts = [
        f"Pearson's r of {clean(found.board.metric)} with {clean(found.metric)} over {over} rows a method, with 95 % "
        "bootstrap intervals over images (each with all its rows), for this fixed model. Methods in the board's order."
    ]
    undefined = int(found.table["n_undefined"].sum())
    if undefined:
        parts.append(f"{count(undefined, 'row')} left out: one of the two scores is undefined.")
    return " ".join(parts)


def correlation_text(found: Correlation, width: int | None, colour: bool) -> str:
    """Title, table and caption."""
    headers = list(found.table.columns)
    rows = found.table.to_dict("records")
    quiet = [row["kind"] in QUIET for row in rows]
    lines = [[format_cell(row[name]) for name in headers] for row in rows]
    body = text_table(headers, lines, width, colour, quiet=quiet, less=("kind",))
    return page(found.title, body, found.caption, width)


def correlation_markdown(found: Correlation) -> str:
    """Title, table and caption."""
    lines = [f"**{markdown(found.title)}**", "", *markdown_table(found.table), "", markdown(found.caption), ""]
    return "\n".join(lines)


def correlation_json(found: Correlation) -> str:
    """The board's facts with the other metric and rows."""
    value = board_header(found.board) | {
        "title": found.title, "with": found.metric, "caption": found.caption, "notes": list(found.notes),
        "rows": records(found.table), "context": found.board.context,
    }  # fmt: skip
    return json_of(value)


def _name(group: dict, by: str) -> str:
    """A group with what the model gets right of it, where that is not what the group is."""
    name = clean(group["group"])
    if by == "correctness" or pd.isna(group["accuracy"]):
        return name
    return f"{name} ({share(group['accuracy'])} right)"
