"""Boards of several models as one, a page for each protocol; and the list of models."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pandas as pd
from markupsafe import Markup

from xaibench.report import columns
from xaibench.report.across_page import across_models_caption
from xaibench.report.table import Column, Table
from xaibench.site.content import Content, SiteAcross, leading, model_styles, without_training_seed
from xaibench.site.page import Page
from xaibench.site.pages.boards import interval_column, row_style
from xaibench.site.plot import Point, plot
from xaibench.site.shipped import title_of
from xaibench.site.tables import DataTable, Row, data_table
from xaibench.site.words import best_across, best_models, limits, two_decimals

DEEPEST = 45  # per cent of the accent colour behind the highest mean; text stays readable on it
OF_TRAININGS = "5 of a name: the mean of five trainings, a dot for each, and a line from the lowest to the highest."
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
    styles = model_styles(found)

    def style(row: Row) -> str:
        return styles[row["model"]]

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
    """Accuracy against the mean of the best method, a point for each model; "" where fewer than two are known.

    Trainings that differ in the seed alone are one named point: their mean, with a line from the least to the greatest
    score and a small dot for each.
    """
    known = one.found.models.dropna(subset=["accuracy", "best"])
    if len(known) < 2:
        return ""
    known = known.assign(x=100 * known["accuracy"], style=known["model"].map(model_styles(one.found)))
    points: list[Point] = []
    for name, trainings in known.groupby(known["model"].map(without_training_seed), sort=False):
        if len(trainings) == 1:
            row = trainings.iloc[0]
            points.append(Point(row["model"], row["x"], row["best"], row["ci_low"], row["ci_high"], row["style"],
                                root + one.members[row["model"]].address))  # fmt: skip
            continue
        best = trainings["best"]
        style = "lead" if trainings["style"].eq("lead").any() else "rest"
        points += [Point(row.model, row.x, row.best, style=row.style, named=False) for row in trainings.itertuples()]
        points.append(Point(f"{len(trainings)} of {name}", trainings["x"].mean(), best.mean(), best.min(),
                            best.max(), style, f"{root}{one.address}#models"))  # fmt: skip
    names = ("accuracy of the model, %", f"{one.found.metric} of its best method")
    drawn = plot(points, names, f"Accuracy of {len(known)} models against the {names[1]}; the table has the numbers")
    return drawn if len(points) == len(known) else drawn + Markup(f'<p class="fine">{OF_TRAININGS}</p>')


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

    models = (Column(name, "mean score on this model", foreign=True, format=two_decimals) for name in matrix.columns)
    table = Table((columns.METHOD, *models), matrix.reset_index())
    return data_table(
        "matrix", table, "Mean score of every method on every model", thing="methods",
        links={"method": lambda row: "../" + content.method_address(row["method"])}, shade=shade, wide=True,
    )  # fmt: skip
