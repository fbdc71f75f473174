"""The page of the agreement of boards: their correlations two by two, and how reliable each order is."""

from __future__ import annotations

from xaibench.report import columns
from xaibench.report.inputs import Agreement
from xaibench.report.page import Bullets, Page
from xaibench.report.table import Column, Table


def agreement_page(found: Agreement) -> Page:
    """The boards in the order of the clusters, then every pair of them; a document has the matrix of tau, too."""
    pairs = Table(columns.AGREEMENT, found.table, quiet=found.table["tau"].isna().tolist())
    boards = Table(columns.AGREEING_BOARDS, found.boards)
    caption = agreement_caption(found)
    value = {
        "title": found.title, "across": found.across, "caption": caption, "notes": list(found.notes),
        "boards": boards.records(), "clusters": found.tree.tolist(), "rows": pairs.records(),
    }  # fmt: skip
    titles = Bullets([f"{row['name']}: {row['title']}" for row in found.boards.to_dict("records")])
    document = [_matrix(found), boards, pairs, caption, Bullets(found.notes), titles]
    return Page(found.title, caption, [boards, pairs], document, pairs, value)


def _matrix(found: Agreement) -> Table:
    matrix = found.matrix
    others = (Column(name, "Kendall's tau-b with this board", foreign=True) for name in matrix.columns)
    return Table((columns.BOARD, *others), matrix.rename_axis("name").reset_index())


def agreement_caption(found: Agreement) -> str:
    """What the numbers mean."""
    return (
        "tau: Kendall's tau-b, and rho: Spearman's, of the mean scores of the ranked methods that both boards have, on "
        "the images that both have; 1 is the same order from best to worst. Their 95 % bootstrap intervals resample "
        "the images of both boards together and speak of other samples of as many images, for the same methods. "
        "corrected: rho without what so few images take from it, from halves of the images, without an interval. "
        "reliability: the rho to be expected with the order on as many other images."
    )
