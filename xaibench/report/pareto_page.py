"""The page of a Pareto front: every point, those on the front in full light."""

from __future__ import annotations

from xaibench.printing import clean
from xaibench.report import columns
from xaibench.report.inputs import Pareto
from xaibench.report.page import Bullets, Page
from xaibench.report.table import Table

AXES = {
    "passes": "forward passes an image, run alone",
    "passes_shared": "forward passes an image, shared passes divided among the methods that use them",
    "seconds": "seconds an image, run alone",
    "seconds_shared": "seconds an image, shared work divided among the methods that use it",
    "accuracy": "accuracy of the model",
}


def pareto_page(found: Pareto) -> Page:
    """The points from the better end of x to the worse; in a terminal those that are beaten are dim."""
    table = Table(columns.PARETO_POINTS, found.table, quiet=(~found.table["on_front"]).tolist())
    caption = pareto_caption(found)
    value = {
        "title": found.title, "metric": found.metric, "higher_is_better": found.higher_is_better, "x": found.x,
        "higher_x_is_better": found.x_high, "caption": caption, "notes": list(found.notes), "rows": table.records(),
    }  # fmt: skip
    return Page(found.title, caption, [table], [table, caption, Bullets(found.notes)], table, value)


def pareto_caption(found: Pareto) -> str:
    """What is on the front, and what that says."""
    end = "higher" if found.higher_is_better else "lower"
    parts = [
        f"On the front: no other {found.of} has a mean {clean(found.metric)} ({end} is better) and {_x(found)} that "
        "are both at least as good, and one of them better. beaten_by: the best of those that do."
    ]
    if "surely" in found.table:
        parts.append("surely: the board tells it from one that beats it; without that, other images may put it there.")
    else:
        parts.append("The front is that of these images: means that are not told apart may change places on others.")
    return " ".join(parts)


def _x(found: Pareto) -> str:
    return f"{found.x} ({'higher' if found.x_high else 'lower'} is better)"
