"""The table of judged protocols."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from xaibench import registry
from xaibench.errors import XaibenchError
from xaibench.judging.config import TRUTHS, JudgeConfig
from xaibench.judging.few import choose_few, rankings
from xaibench.judging.subjects import ANY, subject_of
from xaibench.judging.summary import Stored, stored_protocols, summary
from xaibench.report.table import FOR_PEOPLE, FOR_PROGRAMS, Column, Table
from xaibench.report.text import format_cost

LEAST = 4  # protocols, and networks, of which a few may be chosen
SHORT = {"intervention": "interv.", "shapley": "Shapley", "association": "assoc."}


def judged_table(config: JudgeConfig, refused: Mapping[str, str] | None = None) -> Table:
    """Every protocol that is stored with the images, seed and networks of a request, one row each.

    refused: protocols that cannot be judged, with the reason. Raises XaibenchError where nothing is stored.
    """
    stored = stored_protocols(config)
    if not stored:
        raise XaibenchError(f"nothing is judged in {config.out} with these options; name a protocol, such as sds")
    rows = pd.DataFrame([_row(each) for each in stored]).sort_values(["rank_by", "protocol"], na_position="last")
    caption = (
        f"{config.count} images of each of {len(config.chosen_networks)} networks whose function is known. Wrong: "
        "pairs of steps of a ladder whose worse map scores at least as high (a score that knows nothing: 50 %), with "
        "95 % intervals over images. Images: how many tell two neighbouring steps apart at power .8, the median."
        " Gap: how far the best attack stays behind the true map; 1 is as bad as random, 0 as good as the true map."
        " Held against: the truth that a protocol is about by its definition, * where it names none and the nearest "
        "is taken."
    )
    notes = [f"{name} is not judged: it {reason}" for name, reason in (refused or {}).items()]
    partial = [each.label for each in stored if len(each.rows) < len(config.chosen_networks)]
    if partial:
        notes.append(f"not on all networks: {', '.join(partial)}")
    if few := carried_by_few(stored, config.chosen_networks):
        notes.append(few)
    return Table(_columns(), rows, caption, tuple(notes))


def _row(stored: Stored) -> dict[str, Any]:
    row, subject = summary(stored), _subject(stored)
    wrong = {truth: row[f"discordant_{truth}"] for truth in TRUTHS}
    known = {truth: value for truth, value in wrong.items() if math.isfinite(value)}
    nearest = min(known, key=known.__getitem__) if known else ""
    held = subject.truth or nearest
    return {
        "about": subject.words, "held": held, "named": bool(subject.truth), "attack": row.get(f"attack_{held}", ""),
        "gap": row.get(f"gap_{held}", math.nan), "rank_by": row.get(f"discordant_{held}", math.nan), **row,
    }  # fmt: skip


def held_against(stored: Stored) -> str:
    """The truth that a protocol is about, or else that whose ladders it sees best; "" where there is none."""
    return str(_row(stored)["held"])


def carried_by_few(stored: Sequence[Stored], networks: Sequence[str]) -> str:
    """A line on which few protocols carry what all say; "" for fewer than four protocols or networks.

    Protocols are chosen on every second network and tested on the others.
    """
    everywhere = [each for each in stored if set(networks) <= set(each.rows)]
    ranks = rankings(everywhere)
    if len(everywhere) < LEAST or len(ranks) < LEAST:
        return ""
    names = [name for name in networks if name in ranks]
    few = choose_few(ranks, names[::2], names[1::2], most=3)
    parts = [
        f"{name} ({one:.2f}, {other:.2f})" for name, one, other in zip(few.chosen, few.seen, few.unseen, strict=True)
    ]
    return (
        f"few that carry what all {len(everywhere)} say, with Kendall's tau of the mean ranking up to each and that of "
        f"all, on the networks of the choice ({', '.join(names[::2])}) and on the others: {', then '.join(parts)}"
    )


def _subject(stored: Stored) -> Any:
    try:
        return subject_of(registry.card("protocol", stored.identity["name"]))
    except XaibenchError:  # of a plug-in that is not loaded now
        return ANY


def _percent(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:.0f}"


def _wrong(truth: str) -> Callable[[Mapping[str, Any]], str]:
    def text(row: Mapping[str, Any]) -> str:
        value, low, high = (row[f"{name}_{truth}"] for name in ("discordant", "low", "high"))
        return "" if pd.isna(value) else f"{_percent(value)} [{_percent(low)}, {_percent(high)}]"

    return text


def _images(value: float) -> str:
    return "" if pd.isna(value) else "never" if math.isinf(value) else f"{value:.0f}"


def _two(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.2f}"


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
                   f"images {SHORT[truth]}", format=_images, dropped=1),
            Column(f"unreached_{truth}", "share of steps that are never told apart", outputs=FOR_PROGRAMS),
            Column(f"ladders_{truth}", "how many ladders there are", outputs=FOR_PROGRAMS),
        ]  # fmt: skip
    columns += [Column(name, outputs=FOR_PROGRAMS) for truth in TRUTHS for name in (f"attack_{truth}", f"gap_{truth}")]
    return (
        *columns,
        Column("attack", "the attack that comes nearest to the true map", "worst attack", align="left"),
        Column("gap", "its gap: 1 is worth no more than random, 0 as much as the true map", format=_two),
        Column("stable", "Kendall's tau of its ranking of methods, mean over what was changed", format=_two),
        *(Column(name, f"tau when {text} changes", format=_two, outputs=FOR_PROGRAMS) for name, text in _CHANGED),
        Column("meta_rank", "Meta-Rank: tau over all pairs of settings", "Meta-Rank", format=_two, dropped=2),
        Column("metaquantus", "MetaQuantus: mean of its four consistencies", "MetaQuantus", format=_two, dropped=2),
        Column("passes", "forward passes for a map", format=format_cost, dropped=1),
        Column("shared_passes", "forward passes that all maps share", "shared passes", format=format_cost, dropped=1),
        Column("seconds", "seconds for a map", outputs=FOR_PROGRAMS),
        Column("shared_seconds", "seconds that all maps share", outputs=FOR_PROGRAMS),
        Column("undefined_map", "share of maps undefined by their own fault", outputs=FOR_PROGRAMS),
        Column("undefined_reference", "share of maps whose image has no score", outputs=FOR_PROGRAMS),
        Column("networks", "networks that it was judged on", outputs=FOR_PROGRAMS),
    )


_CHANGED: Sequence[tuple[str, str]] = (
    ("seed", "the seed"), ("baseline", "the baseline"), ("grid", "the grid"), ("images", "the half of the images"),
    ("training", "the training of the network"),
)  # fmt: skip
