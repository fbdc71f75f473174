"""The pages of one board: the leaderboard itself, in groups, and its correlation with another metric."""

from __future__ import annotations

from typing import Any

import pandas as pd

from xaibench.printing import clean
from xaibench.report import columns
from xaibench.report.inputs import Board, Breakdown, Correlation
from xaibench.report.page import Page
from xaibench.report.table import Table
from xaibench.report.text import UNRANKED_KINDS, count, direction, share


def leaderboard_page(board: Board) -> Page:
    """The ranked table of a board. Where a terminal is narrow, columns go that the caption or dim print also tell."""
    table = Table(columns.LEADERBOARD, board.table, quiet=board.table["rank"].isna().tolist())
    caption = leaderboard_caption(board)
    value = board_header(board) | {
        "caption": caption, "notes": list(board.notes), "winner": board.winner and vars(board.winner),
        "rows": table.records(), "context": board.context,
    }  # fmt: skip
    return Page(board.title, caption, [table], [table, caption], table, value)


def leaderboard_caption(board: Board) -> str:
    """What the numbers mean: over what, which interval, direction, accuracy, and what was undefined."""
    wanted, most = board.n_list - board.n_reference, int(board.table["n_images"].max()) if len(board.table) else 0
    over = count(wanted, "image") if most == wanted else f"up to {most} of {count(wanted, 'image')}"
    parts = [
        f"Mean {clean(board.metric)} over {over} ({direction(board)}), "
        "with 95 % intervals by the studentised bootstrap over images, for this fixed model."
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
    if board.table["kind"].isin(UNRANKED_KINDS).any():
        parts.append("Controls and oracles are not ranked.")
    if board.table["rank"].notna().any():
        parts.append(
            "Rank: by mean. ranks: rank sets, and group: methods that share a letter cannot be told apart; both by one "
            "test of all pairs, at 95 % for all methods at once, for the population that the images come from."
        )
    if board.winner:
        parts.append(
            f"{clean(board.winner.method)} was chosen as the best on these images; on images that it was not chosen "
            f"on, the best method's mean is {board.winner.held_out:.4f} (one half chooses, the other half is quoted, "
            f"over {board.winner.splits} splits)."
        )
    if "passes" in board.table:
        parts.append(
            "passes and seconds: what a method's maps need for an image when it is run alone, a backward pass counted "
            "as two forward passes."
        )
    return " ".join(parts)


def board_header(board: Board) -> dict[str, Any]:
    """What JSON has of a board besides its rows."""
    return {
        "board": board.board, "title": board.title, "metric": board.metric,
        "higher_is_better": board.higher_is_better, "undefined_cost": board.undefined_cost,
        "images": {"list": board.n_list, "undefined_reference": board.n_reference}, "accuracy": board.accuracy,
    }  # fmt: skip


def breakdown_page(found: Breakdown) -> Page:
    """A board in groups: a block of lines per group in a terminal, tables of groups and of rows in a document."""
    table, groups = Table(columns.BREAKDOWN, found.table), Table(columns.GROUPS, found.groups)
    caption = breakdown_caption(found)
    value = board_header(found.board) | {
        "title": found.title, "by": found.by, "caption": caption, "notes": list(found.notes),
        "groups": groups.records(), "rows": table.records(), "context": found.board.context,
    }  # fmt: skip
    return Page(found.title, caption, [_blocks(found)], [groups, table, caption], table, value)


def _blocks(found: Breakdown) -> Table:
    """The rows with each group named once, in its first line, and an empty line after each group."""
    named = found.table["group"].where(~found.table["group"].duplicated(), "")
    labels = {group["group"]: _group_label(group, found.by) for group in found.groups.to_dict("records")}
    rows = found.table.assign(group=[labels.get(name, "") for name in named])
    sizes = found.table.groupby("group", sort=False).size()
    ends = (sizes.cumsum() - 1).tolist()
    return Table(columns.BREAKDOWN, rows, quiet=_unranked(found.table), gaps=ends[:-1])


def _group_label(group: dict[str, Any], by: str) -> str:
    """A group with the model's accuracy on it, where the group is not about that."""
    if by == "correctness" or pd.isna(group["accuracy"]):
        return group["group"]
    return f"{group['group']} ({share(group['accuracy'])} right)"


def breakdown_caption(found: Breakdown) -> str:
    """What the numbers mean: over what, which interval, what a group is, what was undefined."""
    board, every = found.board, found.groups.iloc[0]
    over = count(int(every["n_images"]), "image")
    if every["n_pairs"] != every["n_images"]:
        over = f"{every['n_pairs']} explained classes of {over}"
    kind = "whether the prediction is correct" if found.by == "correctness" else "the class"
    parts = [
        f"Mean {clean(board.metric)} ({direction(board)}) by {kind}, over {over}; each explained class of an image "
        "counts once, with 95 % intervals by the studentised bootstrap over images, for this fixed model."
    ]
    undefined = int(found.table.loc[found.table["group"] == every["group"], "n_undefined"].sum())
    if undefined:
        parts.append(f"n_undefined: images with undefined maps, which count at {board.undefined_cost:g}.")
    return " ".join(parts)


def correlation_page(found: Correlation) -> Page:
    """Pearson's r of each method, in the order of the board."""
    table = Table(columns.CORRELATION, found.table, quiet=_unranked(found.table))
    caption = correlation_caption(found)
    value = board_header(found.board) | {
        "title": found.title, "with": found.metric, "caption": caption, "notes": list(found.notes),
        "rows": table.records(), "context": found.board.context,
    }  # fmt: skip
    return Page(found.title, caption, [table], [table, caption], table, value)


def correlation_caption(found: Correlation) -> str:
    """What r is over, which interval, and what was left out."""
    rows = found.table["n_rows"]
    over = f"{rows.min()}" if rows.min() == rows.max() else f"{rows.min()} to {rows.max()}"
    parts = [
        f"Pearson's r of {clean(found.board.metric)} with {clean(found.metric)} over {over} rows a method, with 95 % "
        "intervals by the studentised bootstrap over images (each with all its rows), for this fixed model. Methods in "
        "the board's order."
    ]
    undefined = int(found.table["n_undefined"].sum())
    if undefined:
        parts.append(f"{count(undefined, 'row')} left out: one of the two scores is undefined.")
    return " ".join(parts)


def _unranked(table: pd.DataFrame) -> list[bool]:
    return table["kind"].isin(UNRANKED_KINDS).tolist()
