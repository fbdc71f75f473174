"""The columns of the table of judged protocols."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from xaibench.judging.config import TRUTHS
from xaibench.report.table import FOR_PEOPLE, FOR_PROGRAMS, Column
from xaibench.report.text import format_cost, format_two

SHORT = {"intervention": "interv.", "shapley": "Shapley", "association": "assoc."}
CHANGED = {
    "seed": "the seed", "baseline": "the baseline", "grid": "the grid", "images": "the half of the images",
    "training": "the training of the network",
}  # fmt: skip
"""What is changed for the stability of a ranking."""


def _percent(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:.0f}"


def _wrong(truth: str) -> Callable[[Mapping[str, Any]], str]:
    def text(row: Mapping[str, Any]) -> str:
        value, low, high = (row[f"{name}_{truth}"] for name in ("discordant", "low", "high"))
        return "" if pd.isna(value) else f"{_percent(value)} [{_percent(low)}, {_percent(high)}]"

    return text


def images_text(value: float) -> str:
    """A number of images, `never` for an infinite one, "" for an undefined one."""
    return "" if pd.isna(value) else "never" if math.isinf(value) else f"{value:.0f}"


def _columns() -> tuple[Column, ...]:
    columns = [
        Column("protocol", "with settings that are not its card's", align="left", wraps=True, foreign=True),
        Column("about", "what it asks, by its definition", align="left", wraps=True, dropped=2),
        Column(
            "against", "the truth that attack and gap refer to", "held against", align="left", outputs=FOR_PEOPLE,
            value=lambda row: f"{SHORT.get(row['held'], '')}{'' if row['named'] else '*'}",
        ),
        Column("held", "the truth that it is held against", align="left", outputs=FOR_PROGRAMS),
        Column("named", "whether it is about that truth by its definition", outputs=FOR_PROGRAMS),
    ]  # fmt: skip
    for truth in TRUTHS:
        columns += [
            Column(f"wrong_{truth}", f"pairs in the wrong order, % ({truth})", f"wrong % {SHORT[truth]}",
                   outputs=FOR_PEOPLE, value=_wrong(truth)),
            Column(f"discordant_{truth}", "share of pairs in the wrong order", outputs=FOR_PROGRAMS),
            Column(f"low_{truth}", "lower end of its 95 % interval", outputs=FOR_PROGRAMS),
            Column(f"high_{truth}", "upper end", outputs=FOR_PROGRAMS),
            Column(f"tied_{truth}", "share of pairs that tie, part of those in the wrong order", outputs=FOR_PROGRAMS),
            Column(f"images_{truth}", f"images needed, median ({truth}); never: more than 100 000 or the wrong way",
                   f"images {SHORT[truth]}", format=images_text, dropped=1),
            Column(f"unreached_{truth}", "share of steps that are never told apart", outputs=FOR_PROGRAMS),
            Column(f"ladders_{truth}", "how many ladders there are", outputs=FOR_PROGRAMS),
        ]  # fmt: skip
    columns += [Column(name, outputs=FOR_PROGRAMS) for truth in TRUTHS for name in (f"attack_{truth}", f"gap_{truth}")]
    return (
        *columns,
        Column("attack", "the attack that comes nearest to the true map", "worst attack", align="left"),
        Column("gap", "its gap: 1 is worth no more than random, 0 as much as the true map", format=format_two),
        Column("stable", "Kendall's tau of its ranking of methods, mean over what was changed", format=format_two),
        *(
            Column(name, f"tau when {text} changes", format=format_two, outputs=FOR_PROGRAMS)
            for name, text in CHANGED.items()
        ),
        Column("meta_rank", "Meta-Rank: tau over all pairs of settings", "Meta-Rank", format=format_two, dropped=2),
        Column(
            "metaquantus", "MetaQuantus: mean of its four consistencies", "MetaQuantus", format=format_two, dropped=2
        ),
        Column("passes", "forward passes for a map", format=format_cost, dropped=1),
        Column("shared_passes", "forward passes that all maps share", "shared passes", format=format_cost, dropped=1),
        Column("seconds", "seconds for a map", outputs=FOR_PROGRAMS),
        Column("shared_seconds", "seconds that all maps share", outputs=FOR_PROGRAMS),
        Column("undefined_map", "share of maps undefined by their own fault", outputs=FOR_PROGRAMS),
        Column("undefined_reference", "share of maps whose image has no score", outputs=FOR_PROGRAMS),
        Column("networks", "networks that it was judged on", outputs=FOR_PROGRAMS),
    )


COLUMNS = _columns()
"""Of `judged_table`, and of the table that ships."""
