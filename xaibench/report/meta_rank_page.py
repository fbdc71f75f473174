"""The page of ranks over settings: methods by their mean rank, boards, and the settings that change the order most."""

from __future__ import annotations

from math import isfinite

from xaibench.report import columns
from xaibench.report.inputs import MetaRank
from xaibench.report.page import Bullets, Page
from xaibench.report.table import Column, Table


def meta_rank_page(found: MetaRank) -> Page:
    """Methods, settings and boards; a document has the rank of each method on each board, too."""
    methods = Table(columns.META_RANK, found.table)
    factors, boards = Table(columns.META_RANK_SETTINGS, found.factors), Table(columns.META_RANK_BOARDS, found.boards)
    caption = meta_rank_caption(found)
    value = {
        "title": found.title, "caption": caption, "notes": list(found.notes), "tau": found.tau,
        "tau_low": found.tau_low, "tau_high": found.tau_high, "n_images": found.n_images,
        "settings": factors.records(), "boards": boards.records(),
        "ranks": {str(board): ranks.to_dict() for board, ranks in found.ranks.items()}, "rows": methods.records(),
    }  # fmt: skip
    shown = [methods, *([factors] if len(found.factors) else []), boards]
    titles = Bullets([f"{row['name']}: {row['title']}" for row in found.boards.to_dict("records")])
    document = [methods, _ranks(found), *shown[1:], caption, Bullets(found.notes), titles]
    return Page(found.title, caption, shown, document, methods, value)


def _ranks(found: MetaRank) -> Table:
    others = (Column(name, "rank on this board", foreign=True) for name in found.ranks.columns)
    return Table((columns.METHOD, *others), found.ranks.rename_axis("method").reset_index())


def meta_rank_caption(found: MetaRank) -> str:
    """What the numbers mean, and how alike the orders are."""
    interval = f"{found.tau:.2f} ({found.tau_low:.2f} to {found.tau_high:.2f})"
    how = interval if isfinite(found.tau) else "undefined, as a board ties all methods"
    return (
        f"Ranks of the methods that all {len(found.boards)} boards rank, on the {found.n_images} images that all have; "
        "1 is the best. spread: standard deviation of the rank over boards. tau: Kendall's tau-b of two orders; of a "
        "board, the mean with the others; of a setting, the mean over pairs of boards that differ in it alone. Over "
        f"all pairs it is {how}. The 95 % bootstrap intervals resample the images of all boards together: they speak "
        "of other images, not of other settings."
    )
