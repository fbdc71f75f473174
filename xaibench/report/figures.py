"""From a result to its figure, by the name of its layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from xaibench.errors import XaibenchError
from xaibench.report.across_figure import across_figure
from xaibench.report.agreement_figure import agreement_figure
from xaibench.report.board_figure import board_figure, breakdown_figure
from xaibench.report.meta_rank_figure import meta_rank_figure
from xaibench.report.pairs_figure import pairs_figure
from xaibench.report.pareto_figure import pareto_figure

FIGURES: dict[str, Callable[[Any, str | Path], Path]] = {
    "leaderboard": board_figure,
    "breakdown": breakdown_figure,
    "pairs": pairs_figure,
    "across-models": across_figure,
    "agreement": agreement_figure,
    "meta-rank": meta_rank_figure,
    "pareto": pareto_figure,
}


def draw(result: Any, path: str | Path) -> Path:
    """Draws a result to a .png or .svg file, whose path is returned.

    Raises XaibenchError for a result that has no figure, another suffix, or a file that cannot be written.
    """
    if result.layout not in FIGURES:
        raise XaibenchError(f"a {result.layout} has no figure")
    return FIGURES[result.layout](result, path)
