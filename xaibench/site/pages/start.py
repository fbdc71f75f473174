"""The start page: the two questions, each answered in a sentence and a picture, and what the answers cannot say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from xaibench.report.text import UNRANKED_KINDS
from xaibench.site.content import Content, SiteAcross, SiteBoard, leading, model_styles, without_training_seed
from xaibench.site.page import Page
from xaibench.site.pages.across import accuracy_plot
from xaibench.site.pages.boards import index_table, row_style
from xaibench.site.shipped import title_of
from xaibench.site.studies import SiteStudy, studies
from xaibench.site.svg import Axis, Item, panel, panel_axis
from xaibench.site.words import best_across, best_method, best_models, limits, number_of_images

SHOWN, PANELS = 8, 12  # methods of a panel where there are several, and models


def pages(content: Content) -> Iterator[Page]:
    """The one start page."""
    main: SiteAcross | SiteBoard = content.across[0] if content.across else _fullest(content.current or content.boards)
    several, comparisons = isinstance(main, SiteAcross), studies(content)
    values = {
        "about": content.index, "main": main, "several": several, "protocol_title": title_of("protocol", main.protocol),
        "methods_answer": best_across(main) if several else best_method(main),
        "models_answer": best_models(main) if several else "",
        "panels": _panels(content, main), "more": len(main.members) - PANELS if several else 0,
        "claims": _claims(comparisons), "comparisons": len(comparisons),
        "models_panel": models_panel(main) if several else "",
        "plot": accuracy_plot(main, "") if several else "", "limits": limits(main),
        "images": number_of_images(main),
        "counts": {"boards": len(content.boards), "models": len({one.model for one in content.boards}),
                   "methods": len(_methods(content)), "protocols": len({one.protocol for one in content.boards})},
        "others": [(one, _apart(content, one), best_across(one)) for one in content.across[1:]] if several else [],
        "table": index_table(content, "", content.current),
    }  # fmt: skip
    yield Page("index.html", "start.html", "Start", "start", values)


def _fullest(boards: Sequence[SiteBoard]) -> SiteBoard:
    """The board with most methods, of these with most images; the first where several are alike."""
    return max(boards, key=lambda one: (len(one.found.table), one.found.table["n_images"].max()))


def _claims(comparisons: Sequence[SiteStudy]) -> list[tuple[SiteStudy, list[str]]]:
    """Comparisons with the trainings that a claim about a design takes, with a sentence for each such pair of arms."""
    found = [(one, [pair.sentence() for pair in one.study.pairs if pair.enough]) for one in comparisons]
    return [(one, sentences) for one, sentences in found if sentences]


def _apart(content: Content, one: SiteAcross) -> str:
    """Its protocol, with what all of its boards have of their own."""
    details = [content.details[board.slug] for board in one.members.values()]
    own = [detail for detail in details[0] if all(detail in others for others in details)]
    return f"{one.protocol} ({', '.join(own)})" if own else one.protocol


def _methods(content: Content) -> set[str]:
    """Names of all methods that are no controls or oracles."""
    tables = (one.found.table for one in content.boards)
    return {name for table in tables for name in table.loc[~table["kind"].isin(UNRANKED_KINDS), "method"]}


def _panels(content: Content, main: SiteAcross | SiteBoard) -> list[dict[str, Any]]:
    """A panel for each model, its best methods on one axis that all panels share."""
    if isinstance(main, SiteBoard):
        boards, most = {main.model: main}, len(main.found.table)
    else:
        boards, most = {name: main.members[name] for name in _several_models(main)[:PANELS]}, SHOWN
    tables = {name: _first(one.found.table, most) for name, one in boards.items()}
    every = pd.concat(tables.values())
    axis = panel_axis([*every["ci_low"], *every["mean"], *every["ci_high"]])
    return [_panel(content, name, one, tables[name], axis) for name, one in boards.items()]


def _several_models(main: SiteAcross) -> list[str]:
    """The models, the best first; further trainings of one model come after all models."""
    order = main.found.models["model"]
    again = order.map(without_training_seed).duplicated()
    return [*order[~again], *order[again]]


def _panel(content: Content, name: str, one: SiteBoard, table: pd.DataFrame, axis: Axis) -> dict[str, Any]:
    items = [
        Item(row["method"], row["mean"], row["ci_low"], row["ci_high"], row_style(row),
             content.method_address(row["method"]))
        for row in table.to_dict("records")
    ]  # fmt: skip
    best, shown = [row["method"] for row in leading(one.found.table)], set(table["method"])
    return {
        "model": name, "address": one.address, "leading": len(best),
        "drawing": panel(items, axis, f"Mean and 95 % interval of the first methods on {name}"),
        "hidden": sum(name not in shown for name in best), "ranked": int(one.found.table["rank"].notna().sum()),
    }  # fmt: skip


def _first(table: pd.DataFrame, most: int) -> pd.DataFrame:
    if len(table) <= most:
        return table
    return table[~table["kind"].isin(UNRANKED_KINDS)].head(most)


def models_panel(main: SiteAcross) -> Any:
    """The best method of each model with its interval."""
    styles = model_styles(main.found)
    rows = main.found.models.dropna(subset=["best"]).to_dict("records")
    axis = panel_axis([value for row in rows for value in (row["ci_low"], row["best"], row["ci_high"])])
    items = [
        Item(row["model"], row["best"], row["ci_low"], row["ci_high"], styles[row["model"]],
             main.members[row["model"]].address)
        for row in rows
    ]  # fmt: skip
    return panel(items, axis, f"Mean and 95 % interval of the best method of each of {len(items)} models")
