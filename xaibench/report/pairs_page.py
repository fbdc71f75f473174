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
    table = Table(columns.PAIRS, found.table, quiet=(found.table["p_holm"] > 0.05).tolist())
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
    ]
    return " ".join(parts)
