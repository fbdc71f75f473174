"""The page of pairs of methods: one row each, and what its two tests have to do with each other."""

from __future__ import annotations

from xaibench.printing import clean
from xaibench.report import columns
from xaibench.report.board_pages import board_header
from xaibench.report.inputs import Pairs
from xaibench.report.page import Page
from xaibench.report.table import Table
from xaibench.report.text import count, direction


def pairs_page(found: Pairs) -> Page:
    """Every pair, the better method first; pairs that are not told apart are dim in a terminal."""
    table = Table(columns.PAIRS, found.table, quiet=(~found.table["surely_better"]).tolist())
    caption = pairs_caption(found)
    value = board_header(found.board) | {
        "title": found.title, "caption": caption, "notes": list(found.notes),
        "flips": {"count": found.draws, "exact": found.exact}, "rows": table.records(), "context": found.board.context,
    }  # fmt: skip
    return Page(found.title, caption, [table], [table, caption], table, value)


def pairs_caption(found: Pairs) -> str:
    """What is compared, by which tests, and how the verdict and Holm's p are related."""
    table, images = found.table, int(found.table["n_images"].iloc[0])
    flips = f"all {2 * found.draws}" if found.exact else f"{found.draws}"
    parts = [
        f"{count(len(table), 'pair')} of {len(found.methods)} ranked methods on {count(images, 'image')}: difference "
        f"of mean {clean(found.board.metric)}, first - second ({direction(found.board)}).",
        f"p: paired sign-flip test of the mean difference, two-sided, over {flips} flips; its 95 % interval is of one "
        "pair alone.",
        "p_holm: adjusted over all pairs.",
        "Surely better: by the board's own simultaneous test, which also makes its ranks and groups.",
        "Either way 5 % is the chance of one wrong claim or more among all pairs; the two use the same differences "
        "in two ways, so a pair near the limit may pass one and not the other, and the board's word is the verdict.",
    ]
    holm = table["p_holm"] <= 0.05
    apart = int((holm & ~table["surely_better"]).sum()), int((~holm & table["surely_better"]).sum())
    if any(apart):
        parts.append(
            f"Here {count(apart[0], 'pair')} with p_holm <= 0.05 cannot be told apart by the board, and "
            f"{count(apart[1], 'pair')} with a larger p_holm can."
        )
    return " ".join(parts)
