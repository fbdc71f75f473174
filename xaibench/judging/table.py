"""The table of judged protocols."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from xaibench import registry
from xaibench.errors import XaibenchError
from xaibench.judging.columns import COLUMNS
from xaibench.judging.config import TRUTHS, JudgeConfig
from xaibench.judging.current import split_by_code
from xaibench.judging.few import choose_few, rankings
from xaibench.judging.subjects import ANY, subject_of
from xaibench.judging.summary import Stored, stored_protocols, summary
from xaibench.report.table import Table

LEAST = 4  # protocols, and networks, of which a few may be chosen


def judged_table(config: JudgeConfig, refused: Mapping[str, str] | None = None) -> Table:
    """Every protocol that is stored with the images, seed and networks of a request, one row each.

    refused: protocols that cannot be judged, with the reason. Raises XaibenchError where nothing is stored.
    """
    stored, earlier = split_by_code(stored_protocols(config))
    if not stored and not earlier:
        raise XaibenchError(f"nothing is judged in {config.out} with these options; name a protocol, such as sds")
    if not stored:
        raise XaibenchError(f"{config.out} has rows of earlier code alone, of {', '.join(earlier)}; judge it again")
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
    if earlier:
        notes.append(f"rows of earlier code are left out: {', '.join(earlier)}")
    partial = [each.label for each in stored if len(each.rows) < len(config.chosen_networks)]
    if partial:
        notes.append(f"not on all networks: {', '.join(partial)}")
    if few := carried_by_few(stored, config.chosen_networks):
        notes.append(few)
    return Table(COLUMNS, rows, caption, tuple(notes))


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
