"""From a result to its page, by the name of its layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xaibench.report.across_page import across_models_page
from xaibench.report.agreement_page import agreement_page
from xaibench.report.board_pages import breakdown_page, correlation_page, leaderboard_page
from xaibench.report.meta_rank_page import meta_rank_page
from xaibench.report.overview_page import overview_page
from xaibench.report.page import Page
from xaibench.report.pairs_page import pairs_page
from xaibench.report.pareto_page import pareto_page
from xaibench.report.reproduction_page import reproduction_page
from xaibench.report.study_page import study_page
from xaibench.report.survey_page import survey_page

LAYOUTS: dict[str, Callable[[Any], Page]] = {
    "leaderboard": leaderboard_page,
    "breakdown": breakdown_page,
    "correlation": correlation_page,
    "pairs": pairs_page,
    "across-models": across_models_page,
    "agreement": agreement_page,
    "meta-rank": meta_rank_page,
    "pareto": pareto_page,
    "study": study_page,
    "overview": overview_page,
    "survey": survey_page,
    "reproduction": reproduction_page,
}


def page_of(result: Any) -> Page:
    """The page of a result, whose `layout` is one of `LAYOUTS`; what it must have else is in `report.inputs`."""
    return LAYOUTS[result.layout](result)
