"""Boards of several models as one, a page for each protocol; and the list of models."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pandas as pd

from xaibench.report import columns
from xaibench.report.across_page import across_models_caption
from xaibench.report.table import Column, Table
from xaibench.site.content import Content, SiteAcross, leading, leading_models
from xaibench.site.page import Page
from xaibench.site.pages.boards import interval_column, row_style
from xaibench.site.plot import Point, plot
from xaibench.site.shipped import title_of
from xaibench.site.tables import DataTable, Row, data_table
from xaibench.site.words import best_across, best_models, limits

DEEPEST = 45  # per cent of the accent colour behind the highest mean; text stays readable on it
MODEL_INDEX = (
    columns.MODEL, Column("title", "what the name stands for", align="left"),
    Column("protocol", "what is measured", align="left"), Column("dataset", "the data set", align="left"),
    columns.ACCURACY, columns.BEST_METHOD, columns.BEST,
)  # fmt: skip


def pages(content: Content) -> Iterator[Page]:
    """The list of models, and a page across models for each protocol that has several."""
    yield Page("models.html", "models.html", "Models", "models", {
        "table": _models_index(content), "across": content.across, "refused": content.refused})  # fmt: skip
    for one in content.across:
        yield _page(content, one)


def _models_index(content: Content) -> DataTable:
    rows = [
        {
            "model": one.model, "title": title_of("model", one.model), "protocol": one.protocol,
            "dataset": one.dataset, "accuracy": _accuracy(one.found.accuracy),
            "slug": one.slug, "best_method": first["method"] if first else "",
            "best": first["mean"] if first else float("nan"),
        }
        for one in content.current
        for first in [next(leading(one.found.table), None)]
    ]  # fmt: skip
    return data_table(
        "models", Table(MODEL_INDEX, pd.DataFrame(rows)), "Models under each protocol", thing="boards",
        links={"model": lambda row: f"boards/{row['slug']}.html",
               "best_method": lambda row: content.method_address(row["best_method"]) if row["best_method"] else ""},
        selects=("protocol", "dataset"),
    )  # fmt: skip


def _accuracy(found: dict[str, int] | None) -> float:
    return found["correct"] / found["images"] if found and found.get("images") else float("nan")


def _page(content: Content, one: SiteAcross) -> Page:
    found = one.found
    pairs = data_table(
        "pairs", Table(columns.ACROSS_MODELS, found.table), "Every pair of model and method", thing="pairs",
        links={"model": partial(_board_of, one, "model", "../"),
               "method": lambda row: "../" + content.method_address(row["method"])},
        drawings=[interval_column(found.table, "method")], selects=("model", "kind"), style=row_style,
    )  # fmt: skip
    best = leading_models(found)

    def style(row: Row) -> str:
        return "lead" if row["model"] in best else "rest"

    models = data_table(
        "models", Table(columns.MODELS, found.models), "Models by their best method", thing="models",
        links={"model": partial(_board_of, one, "model", "../"),
               "best_method": lambda row: "../" + content.method_address(row["best_method"])
               if isinstance(row["best_method"], str) else ""},
        drawings=[interval_column(found.models, "best_method", "best", style)], style=style,
        row_id=lambda row: f"model-{one.members[row['model']].slug}",
    )  # fmt: skip
    values = {
        "one": one, "protocol_title": title_of("protocol", one.protocol), "answer": best_models(one),
        "methods_answer": best_across(one), "caption": across_models_caption(found), "models": models, "pairs": pairs,
        "matrix": _matrix(content, one), "plot": accuracy_plot(one, "../"), "limits": limits(one),
    }  # fmt: skip
    return Page(one.address, "across.html", f"{one.protocol} across {len(one.members)} models", "models", values)


def _board_of(one: SiteAcross, column: str, root: str, row: Row) -> str:
    return root + one.members[row[column]].address


def accuracy_plot(one: SiteAcross, root: str) -> Any:
    """Accuracy against the mean of the best method, a point for each model; "" where fewer than two are known."""
    known = one.found.models.dropna(subset=["accuracy", "best"])
    if len(known) < 2:
        return ""
    best = leading_models(one.found)
    points = [
        Point(row["model"], 100 * row["accuracy"], row["best"], row["ci_low"], row["ci_high"],
              "lead" if row["model"] in best else "rest", root + one.members[row["model"]].address)
        for row in known.to_dict("records")
    ]  # fmt: skip
    names = ("accuracy of the model, %", f"{one.found.metric} of its best method")
    return plot(points, names, f"Accuracy of {len(points)} models against the {names[1]}; the table has the numbers")


def _matrix(content: Content, one: SiteAcross) -> DataTable:
    """Means of all methods on all models, shaded from the worst to the best."""
    matrix = one.found.matrix
    low, high = float(matrix.min().min()), float(matrix.max().max())
    sign = 1 if one.found.higher_is_better else -1

    def shade(column: str, value: Any) -> str:
        if column == "method" or pd.isna(value) or high == low:
            return ""
        share = (value - low) / (high - low)
        return f"--shade: {DEEPEST * (share if sign > 0 else 1 - share):.0f}%"

    models = (Column(name, "mean score on this model", foreign=True, format=_two) for name in matrix.columns)
    table = Table((columns.METHOD, *models), matrix.reset_index())
    return data_table(
        "matrix", table, "Mean score of every method on every model", thing="methods",
        links={"method": lambda row: "../" + content.method_address(row["method"])}, shade=shade, wide=True,
    )  # fmt: skip


def _two(value: Any) -> str:
    return "" if pd.isna(value) else value if isinstance(value, str) else f"{value:.2f}".replace("-", "\u2212")
