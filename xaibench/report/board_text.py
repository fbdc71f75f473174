"""A leaderboard as text, Markdown and JSON. Names come from plug-ins and cards of others, so none is trusted."""

from __future__ import annotations

import io
import json
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from xaibench.files import plain
from xaibench.results.cells import metric_declaration

if TYPE_CHECKING:
    from rich.table import Table

    from xaibench.analysis.leaderboard import Leaderboard

WORDS = ("method", "kind", "group", "class", "model", "arm", "best_method", "verdict", "accuracy_on")  # columns of text
MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|~&$"})


def caption(board: Leaderboard) -> str:
    """What the numbers mean: over what, which interval, direction, accuracy, and what was undefined."""
    parts = [
        f"Mean {clean(board.metric)} over {count(board.n_list - board.n_reference, 'image')} ({direction(board)}), "
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


def direction(board: Leaderboard) -> str:
    """Which end of the scores is the better one, if either is."""
    if metric_declaration(board.context.get("protocol") or {}, board.metric).get("higher_is_better", True) is None:
        return "it only describes"
    return f"{'higher' if board.higher_is_better else 'lower'} is better"


def to_text(board: Leaderboard, width: int | None, colour: bool) -> str:
    """Title, table and caption for a terminal of `width` columns (at least 72), or as wide as the table needs.

    Where it is too narrow for all columns, those go first that the caption or the dim print also tell.
    """
    headers = ["rank", "method", "mean", "ci_low", "ci_high", "n_images", "n_undefined", "ranks", "coverage", "kind"]
    if (board.table["coverage"] == 1).all():
        headers.remove("coverage")
    lines = [[_words(header, row) for header in headers] for row in board.table.to_dict("records")]
    quiet = board.table["rank"].isna().tolist()
    table = text_table(headers, lines, width, colour, quiet=quiet, less=("kind", "ranks"))
    return page(board.title, table, board.caption, width)


def page(title: str, body: str, caption: str, width: int | None) -> str:
    """Title, body and caption with empty lines between them; the words are filled to at most 100 columns."""
    fill = min(max(width or 1000, 72), 100)
    title = textwrap.fill(clean(title).replace(" · ", "\u00a0· "), fill).replace("\u00a0", " ")
    return "\n\n".join([title, body, textwrap.fill(caption, fill)])


def text_table(
    headers: list[str], lines: list[list[str]], width: int | None, colour: bool, quiet: Sequence[bool],
    less: Sequence[str] = (), blocks: Sequence[int] = (),
) -> str:  # fmt: skip
    """A table for a terminal of `width` columns (at least 72), or as wide as it needs.

    quiet: which lines are dim. less: columns that go, one after the other, where it is too narrow. blocks: numbers of
    lines after which an empty one follows.
    """
    from rich.console import Console

    stream = io.StringIO()
    console = Console(
        file=stream, width=max(width or 1000, 72), force_terminal=colour, no_color=not colour, highlight=False
    )
    table = _table(headers, lines, quiet, blocks, (), 2)
    for number in range(len(less) + 1):
        if console.measure(table, options=console.options.update(width=1000)).maximum <= console.width:
            break
        table = _table(headers, lines, quiet, blocks, less[:number], 1)
    console.print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def _table(
    headers: list[str], lines: list[list[str]], quiet: Sequence[bool], blocks: Sequence[int], without: Sequence[str],
    gap: int,
) -> Table:  # fmt: skip
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    kept = [number for number, header in enumerate(headers) if header not in without]
    for header in (headers[number] for number in kept):
        left = header in WORDS
        table.add_column(
            header, justify="left" if left else "right", overflow="fold", no_wrap=not left or header == "kind",
            min_width=8 if left else None, max_width=36 if left and header != "kind" else None,
        )  # fmt: skip
    for number, line in enumerate(lines):
        table.add_row(*(Text(line[column]) for column in kept), style="dim" if quiet[number] else None)
        if number in blocks:
            table.add_row()
    return table


def _words(header: str, row: dict[str, Any]) -> str:
    """What a board's table says in a column."""
    if header == "ranks":
        return "" if pd.isna(row["rank_low"]) else f"{row['rank_low']}-{row['rank_high']}"
    return share(row["coverage"]) if header == "coverage" else format_cell(row[header])


def frame_text(table: pd.DataFrame, width: int | None, colour: bool, less: Sequence[str] = ()) -> str:
    """A data frame as it is, for a terminal; less as for `text_table`."""
    lines = [[format_cell(value) for value in row.values()] for row in table.to_dict("records")]
    return text_table(list(table.columns), lines, width, colour, quiet=[False] * len(lines), less=less)


def format_accuracy(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose column `accuracy`, in [0, 1] or NaN, is in per cent, or empty."""
    words = ["" if pd.isna(value) else share(value) for value in table["accuracy"]]
    return table.assign(accuracy=pd.Series(words, table.index, dtype=object))


def format_cell(value: Any) -> str:
    """A name, a whole number, or a number with four decimals; nothing where there is no value."""
    if isinstance(value, str):
        return clean(value)
    if pd.isna(value):
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(int(value))


def to_markdown(board: Leaderboard) -> str:
    """Title, table and caption in Markdown; names are escaped, so they cannot become markup."""
    lines = [f"**{markdown(board.title)}**", "", *markdown_table(board.table), "", markdown(board.caption), ""]
    return "\n".join(lines)


def markdown_table(table: pd.DataFrame) -> list[str]:
    """The lines of a table in Markdown."""
    names = list(table.columns)
    lines = [f"| {' | '.join(names)} |"]
    lines.append("|" + "|".join(" :-- " if name in WORDS else " --: " for name in names) + "|")
    for row in table.to_dict("records"):
        lines.append("| " + " | ".join(_markdown_cell(name, row[name]) for name in names) + " |")
    return lines


def to_json(board: Leaderboard) -> str:
    """One JSON object, without NaN."""
    return json_of({**board_header(board), "caption": board.caption, "notes": list(board.notes),
                    "rows": records(board.table),
                    "context": board.context})  # fmt: skip


def board_header(board: Leaderboard) -> dict[str, Any]:
    """What JSON says of a board beside its rows."""
    return {
        "board": board.board, "title": board.title, "metric": board.metric,
        "higher_is_better": board.higher_is_better, "undefined_cost": board.undefined_cost,
        "images": {"list": board.n_list, "undefined_reference": board.n_reference}, "accuracy": board.accuracy,
    }  # fmt: skip


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as dicts, None where there is no value."""
    rows = table.to_dict("records")
    return [{key: None if pd.isna(value) else value for key, value in row.items()} for row in rows]


def json_of(value: dict[str, Any]) -> str:
    """One JSON object, without NaN."""
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
    if name in WORDS or isinstance(value, str):
        return markdown(value)
    return f"{value:.4f}" if isinstance(value, float) and name != "coverage" else f"{value:g}"
