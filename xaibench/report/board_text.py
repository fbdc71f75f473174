"""A leaderboard as text, Markdown and JSON. Names come from plug-ins and cards of others, so none is trusted."""

from __future__ import annotations

import io
import json
import textwrap
from typing import TYPE_CHECKING, Any

import pandas as pd

from xaibench.results.files import plain

if TYPE_CHECKING:
    from rich.table import Table

    from xaibench.analysis.leaderboard import Leaderboard

MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|~&$"})


def caption(board: Leaderboard) -> str:
    """What the numbers mean: over what, which interval, direction, accuracy, and what was undefined."""
    better = "higher" if board.higher_is_better else "lower"
    parts = [
        f"Mean {clean(board.metric)} over {count(board.n_list - board.n_reference, 'image')} ({better} is better), "
        "with 95 % bootstrap intervals over images, for this fixed model."
    ]
    if board.accuracy and board.accuracy.get("images"):
        correct, images = board.accuracy["correct"], board.accuracy["images"]
        parts.append(f"The model gets {correct} of {images} right ({correct / images:.1%}).")
    if board.n_reference:
        parts.append(f"{count(board.n_reference, 'image')} left out for all methods: the reference is undefined.")
    undefined = int(board.table["n_undefined"].sum())
    if undefined:
        parts.append(f"{count(undefined, 'undefined map')} counted at {board.undefined_cost:g}.")
    if (board.table["coverage"] < 1).any():
        parts.append(f"Without a rank: methods that lack images of the list of {board.n_list} (coverage).")
    if board.table["kind"].isin(["control", "oracle"]).any():
        parts.append("Controls and oracles are not ranked.")
    if board.table["rank"].notna().any():
        parts.append("Ranks: by mean, with the 95 % bootstrap interval of the rank.")
    return " ".join(parts)


def to_text(board: Leaderboard, width: int | None, colour: bool) -> str:
    """Title, table and caption for a terminal of `width` columns (at least 72), or as wide as the table needs.

    Where it is too narrow for all columns, those go first that the caption or the dim print also tell.
    """
    from rich.console import Console

    stream = io.StringIO()
    console = Console(
        file=stream, width=max(width or 1000, 72), force_terminal=colour, no_color=not colour, highlight=False
    )
    headers = ["rank", "method", "mean", "ci_low", "ci_high", "n_images", "n_undefined", "ranks", "coverage", "kind"]
    if (board.table["coverage"] == 1).all():
        headers.remove("coverage")
    table = _table(board, headers, 2)
    for less in ((), ("kind",), ("kind", "ranks")):
        if console.measure(table, options=console.options.update(width=1000)).maximum <= console.width:
            break
        table = _table(board, [header for header in headers if header not in less], 1)
    console.print(table)
    body = "\n".join(line.rstrip() for line in stream.getvalue().splitlines())
    fill = min(console.width, 100)
    title = textwrap.fill(clean(board.title).replace(" · ", "\u00a0· "), fill).replace("\u00a0", " ")
    return "\n\n".join([title, body, textwrap.fill(board.caption, fill)])


def _table(board: Leaderboard, headers: list[str], gap: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    for header in headers:
        left = header in ("method", "kind")
        table.add_column(
            header, justify="left" if left else "right", overflow="fold", no_wrap=header != "method",
            min_width=8 if left else None, max_width=36 if header == "method" else None,
        )  # fmt: skip
    for row in board.table.to_dict("records"):
        span = "" if pd.isna(row["rank_low"]) else f"{row['rank_low']}-{row['rank_high']}"
        words = {
            "rank": _whole(row["rank"]), "method": clean(row["method"]), "mean": _number(row["mean"]),
            "ci_low": _number(row["ci_low"]), "ci_high": _number(row["ci_high"]), "n_images": _whole(row["n_images"]),
            "n_undefined": _whole(row["n_undefined"]), "ranks": span, "coverage": share(row["coverage"]),
            "kind": clean(row["kind"]),
        }  # fmt: skip
        table.add_row(*(Text(words[header]) for header in headers), style="dim" if pd.isna(row["rank"]) else None)
    return table


def to_markdown(board: Leaderboard) -> str:
    """Title, table and caption in Markdown; names are escaped, so they cannot become markup."""
    names = list(board.table.columns)
    lines = [f"**{markdown(board.title)}**", "", f"| {' | '.join(names)} |"]
    lines.append("|" + "|".join(" :-- " if name in ("method", "kind") else " --: " for name in names) + "|")
    for row in board.table.to_dict("records"):
        lines.append("| " + " | ".join(_markdown_cell(name, row[name]) for name in names) + " |")
    return "\n".join([*lines, "", markdown(board.caption), ""])


def to_json(board: Leaderboard) -> str:
    """One JSON object, without NaN."""
    rows = [{key: None if pd.isna(value) else value for key, value in row.items()}
            for row in board.table.to_dict("records")]  # fmt: skip
    value = {
        "board": board.board, "title": board.title, "metric": board.metric,
        "higher_is_better": board.higher_is_better, "undefined_cost": board.undefined_cost,
        "images": {"list": board.n_list, "undefined_reference": board.n_reference}, "accuracy": board.accuracy,
        "caption": board.caption, "notes": list(board.notes), "rows": rows, "context": board.context,
    }  # fmt: skip
    return json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False)


def clean(text: Any) -> str:
    """Text on one line without control characters, so that a name cannot drive the terminal."""
    return "".join(character if character.isprintable() else "?" for character in str(text))


def markdown(text: Any) -> str:
    """Text whose characters mean nothing to Markdown or HTML."""
    return clean(text).translate(MARKDOWN)


def count(number: int, thing: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def share(value: float) -> str:
    """A part of a whole in per cent, never 100% when something lacks."""
    return f"{value:.0%}" if value in (0, 1) else f"{min(value, 0.999):.1%}"


def _markdown_cell(name: str, value: Any) -> str:
    if pd.isna(value):
        return ""
    if name in ("method", "kind"):
        return markdown(value)
    return f"{value:.4f}" if isinstance(value, float) and name != "coverage" else f"{value:g}"


def _whole(value: Any) -> str:
    return "" if pd.isna(value) else str(int(value))


def _number(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:.4f}"
