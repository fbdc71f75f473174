"""A page for each method: what it computes, where it was published, its rank on every board, and its maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from xaibench.report import columns
from xaibench.report.table import Column, Table
from xaibench.site.content import Content, SiteBoard
from xaibench.site.gallery import Gallery
from xaibench.site.page import Page
from xaibench.site.pages.boards import interval_column, row_style
from xaibench.site.pages.replays import of_method
from xaibench.site.shipped import shipped_card
from xaibench.site.tables import data_table

INDEX = (
    columns.METHOD, Column("title", "what it is", align="left"),
    Column("kind", "method, variant, control or oracle; the last two are not ranked", align="left"),
    Column("best_on", "current boards on which it may be the best: rank 1 is in its rank set", title="may be best on"),
    Column("boards", "current boards that have it"), Column("year", "of its paper"),
)  # fmt: skip
RANKS = (
    Column("protocol", "what is measured", align="left"), columns.MODEL, columns.RANK, columns.RANKS, columns.MEAN,
    columns.CI_LOW, columns.CI_HIGH, columns.N_IMAGES, columns.N_UNDEFINED,
)  # fmt: skip
MAPS = 12  # images on the page of a method


def pages(content: Content, galleries: list[Gallery]) -> Iterator[Page]:
    """The list of methods and the page of each."""
    found = _rows_of(content)
    rows = [_index_row(content, name, [row for one, row in own if one.board.is_current]) for name, own in found.items()]
    table = data_table(
        "methods", Table(INDEX, pd.DataFrame(rows)), "All methods of this folder", thing="methods",
        links={"method": lambda row: content.method_address(row["method"])}, selects=("kind",),
    )  # fmt: skip
    yield Page("methods.html", "methods.html", "Methods", "methods", {"table": table})
    for name, own in found.items():
        yield _page(content, name, [row for _, row in own], galleries)


def _rows_of(content: Content) -> dict[str, list[tuple[SiteBoard, dict[str, Any]]]]:
    """By name each method's row on each board that has it, with the board's names."""
    found: dict[str, list[tuple[SiteBoard, dict[str, Any]]]] = {name: [] for name in content.cells}
    for one in content.boards:
        about = {"protocol": one.protocol, "model": one.model, "slug": one.slug}
        for row in one.found.table.to_dict("records"):
            found[row["method"]].append((one, row | about))
    return found


def _index_row(content: Content, name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """rows: of the method on current boards."""
    cell = content.cells[name]
    card = shipped_card("method", cell.method["name"]) if cell.method else None
    best = sum(1 for row in rows if not pd.isna(row["rank_low"]) and row["rank_low"] == 1)
    return {
        "method": name, "title": card.title if card else "", "kind": cell.kind, "best_on": best, "boards": len(rows),
        "year": card.paper.year if card and card.paper else pd.NA,
    }  # fmt: skip


def _page(content: Content, name: str, rows: list[dict[str, Any]], galleries: list[Gallery]) -> Page:
    cell = content.cells[name]
    card = shipped_card("method", cell.method["name"]) if cell.method else None
    frame = pd.DataFrame(rows)
    ranks = data_table(
        "ranks", Table(RANKS, frame), f"{name} on every board", thing="boards",
        links={"protocol": lambda row: f"../boards/{row['slug']}.html#{content.method_id(name)}",
               "model": lambda row: f"../boards/{row['slug']}.html#{content.method_id(name)}"},
        drawings=[interval_column(frame, "model")], selects=("protocol",), style=row_style,
    )  # fmt: skip
    maps = [
        {"gallery": gallery, "images": [(image, picture) for image in gallery.images for picture in image.pictures
                                        if picture.method == name][:MAPS]}
        for gallery in _one_of_each_model(galleries)
    ]  # fmt: skip
    values = {
        "name": name, "card": card, "kind": cell.kind, "ranks": ranks,
        "parameters": (cell.method or {}).get("parameters") or {}, "version": (cell.method or {}).get("version", 1),
        "maps": [each for each in maps if each["images"]], "replays": of_method(content, name),
    }  # fmt: skip
    return Page(content.method_address(name), "method.html", card.title if card else name, "methods", values)


def _one_of_each_model(galleries: list[Gallery]) -> list[Gallery]:
    """The first gallery of each model and data set: protocols share the maps of a model."""
    return list({(each.one.model, each.one.dataset): each for each in reversed(galleries)}.values())[::-1]
