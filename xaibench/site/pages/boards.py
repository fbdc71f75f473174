"""The list of all boards, and a page for each with its table, its pairs and where every row comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pandas as pd

from xaibench.analysis.pareto import pareto_of_costs
from xaibench.report import columns
from xaibench.report.pages import page_of
from xaibench.report.table import Column, Table
from xaibench.report.text import UNRANKED_KINDS
from xaibench.results.replays import OWN
from xaibench.site.content import Content, SiteBoard, leading
from xaibench.site.gallery import Gallery
from xaibench.site.page import Page
from xaibench.site.plot import Point, plot
from xaibench.site.shipped import title_of
from xaibench.site.svg import BAR, Axis, bar, scale
from xaibench.site.tables import DataTable, Drawing, Head, Row, data_table
from xaibench.site.words import best_method, limits, listed

INDEX = (
    Column("protocol", "what is measured", align="left"), Column("model", "the explained model", align="left"),
    Column("dataset", "the data set", align="left"),
    Column("details", "what tells it from other boards of the same protocol, model and data set", align="left"),
    Column("best", "the ranked method with the best mean", align="left"),
    Column("leading", "methods that may be the best: rank 1 is in their rank set"),
    Column("methods", "methods that are ranked"), Column("images", "images of the list"),
    Column("state", "older: a newer board took its place", align="left"),
)  # fmt: skip
WHY_AND_LAST = (
    Column("reason", "why it was withdrawn", align="left"), Column("last", "the last version that has it"),
)  # fmt: skip
WITHDRAWN = (
    columns.METHOD, columns.MODEL, Column("protocol", align="left"), Column("dataset", align="left"), *WHY_AND_LAST,
)  # fmt: skip
VERSIONS = (
    Column("version", align="left"), Column("boards", "its boards"), Column("results", "methods on them"),
    Column("index", "its list of files", align="left"),
)  # fmt: skip
PROVENANCE = (
    columns.METHOD, Column("version", "version of the method's card", title="version"),
    Column("parameters", "what the method was given", align="left"),
    Column("run", "the run that computed it, or used it last", align="left"),
    Column("cell", "key of these rows: everything that can change a number, except which image", align="left"),
    Column("registered", "when the key was first seen, UTC", align="left"),
)  # fmt: skip


def pages(content: Content, galleries: list[Gallery], left_out: Mapping[str, str]) -> Iterator[Page]:
    """The list of boards and the page of each. left_out: by slug what the gallery of a board leaves out."""
    shown = {gallery.one.slug for gallery in galleries}
    replays = bool(content.index and content.index.submissions)
    values = {"table": index_table(content, ""), "replays": replays} | _history(content)
    yield Page("boards.html", "boards.html", "Boards", "boards", values)
    for one in content.boards:
        yield _page(content, one, one.slug in shown, left_out.get(one.slug, ""))


def _history(content: Content) -> dict[str, Any]:
    """What was withdrawn from the folder, and its earlier versions; None for each where there is none."""
    index = content.index
    values: dict[str, Any] = {"withdrawn": None, "versions": None, "version": index.version if index else 0}
    if index and index.withdrawn:
        rows = pd.DataFrame([one.model_dump() | {"method": one.method or "all"} for one in index.withdrawn])
        values["withdrawn"] = data_table(
            "withdrawn", Table(WITHDRAWN, rows), "What was withdrawn, and why", tools=False
        )
    if index and index.versions:
        rows = pd.DataFrame([one.model_dump() for one in index.versions])
        values["versions"] = data_table("versions", Table(VERSIONS, rows), "Earlier versions", tools=False)
    return values


def index_table(content: Content, root: str, shown: list[SiteBoard] | None = None) -> DataTable:
    """One row for each board."""
    boards = {one.slug: one for one in (content.boards if shown is None else shown)}
    rows = pd.DataFrame([_index_row(content, one) | {"slug": slug} for slug, one in boards.items()])
    shown_columns = [column for column in INDEX if column.name != "details" or rows["details"].any()]
    return data_table(
        "boards", Table(shown_columns, rows), "All boards of this folder", thing="boards",
        links={"protocol": lambda row: root + boards[row["slug"]].address,
               "model": lambda row: root + boards[row["slug"]].address,
               "best": lambda row: root + content.method_address(row["best"]) if row["best"] else ""},
        selects=("protocol", "model", "dataset", "state"),
    )  # fmt: skip


def _index_row(content: Content, one: SiteBoard) -> dict[str, Any]:
    first = list(leading(one.found.table))
    return {
        "protocol": one.protocol, "model": one.model, "dataset": one.dataset,
        "details": ", ".join(content.details[one.slug]),
        "best": first[0]["method"] if first else "", "leading": len(first),
        "methods": int(one.found.table["rank"].notna().sum()), "images": one.found.n_list,
        "state": "current" if one in content.current else "older",
    }  # fmt: skip


def _page(content: Content, one: SiteBoard, has_gallery: bool, left_out: str) -> Page:
    page = page_of(one.found)
    values = {
        "one": one, "protocol_title": title_of("protocol", one.protocol), "model_title": title_of("model", one.model),
        "answer": best_method(one), "caption": page.caption, "table": board_table(content, one, "../"),
        "notes": [note for note in one.found.notes if not note.startswith("board ")],
        "provenance": _provenance(content, one), "runs": list(reversed(one.board.runs)), "limits": limits(one),
        "pairs": _pairs(content, one), "front": _front(content, one),
        "across": next((each for each in content.across if one.slug in {m.slug for m in each.members.values()}), None),
        "current": one in content.current, "has_gallery": has_gallery, "left_out": left_out,
        "replays": "replay" in one.found.table,
    }  # fmt: skip
    return Page(one.address, "board.html", f"{one.protocol} on {one.model}", "boards", values)


def board_table(content: Content, one: SiteBoard, root: str) -> DataTable:
    """The ranked table of a board, each row with its interval drawn on one axis."""
    table = one.found.table
    return data_table(
        "board", Table(columns.LEADERBOARD, table), f"Methods ranked by {one.protocol} on {one.model}", thing="methods",
        links={"method": lambda row: root + content.method_address(row["method"]),
               "replay": lambda row: replay_link(content, root, row)},
        drawings=[interval_column(table, "method")], selects=("kind", "replay"),
        row_id=lambda row: content.method_id(row["method"]), style=row_style,
    )  # fmt: skip


def replay_link(content: Content, root: str, row: Row) -> str:
    """Where the page of a method has its replays, for what is said of a row."""
    return "" if row["replay"] == OWN else f"{root}{content.method_address(row['method'])}#replays"


def interval_column(
    table: pd.DataFrame, after: str, mean: str = "mean", style: Callable[[Row], str] | None = None
) -> Drawing:
    """A column with the mean and the interval of each row, all on one axis, which stands in the head; style: as
    `row_style`."""
    style = style or row_style
    axis = Axis.of([*table["ci_low"], *table[mean], *table["ci_high"]], 6, BAR - 6)
    head = Head("interval", "95 % interval", f"{mean} and 95 % interval, on one axis for all rows",
                numeric=False, drawing=scale(axis))  # fmt: skip
    return Drawing(head, lambda row: bar(axis, row["ci_low"], row[mean], row["ci_high"], style(row)), after)


def row_style(row: Row) -> str:
    """`quiet` for what is never ranked; `lead` for what may be the best, for pairs that are told apart, and for changes
    that are clear and let a design be judged; `rest` for all else."""
    if row.get("kind") in UNRANKED_KINDS:
        return "quiet"
    best = row.get("rank_low")
    clear = row.get("clear") is True and row.get("enough_trainings", True) is True
    return "lead" if clear or (not pd.isna(best) and best == 1) else "rest"


def _pairs(content: Content, one: SiteBoard) -> dict[str, Any] | None:
    """Every two ranked methods of a board, and whether they are told apart; None for fewer than two."""
    if int(one.found.table["rank"].notna().sum()) < 2:
        return None
    found = one.found.pairwise()
    rows = found.table.assign(clear=found.table["surely_better"].astype(bool))
    link = {name: partial(_method_of, content, name) for name in ("first", "second")}
    table = data_table(
        "pairs", Table(columns.PAIRS, rows), "Every two ranked methods", thing="pairs", links=link,
        drawings=[interval_column(rows, "second", "difference")], selects=("verdict",), style=row_style,
    )  # fmt: skip
    page = page_of(found)
    return {"table": table, "caption": page.caption, "apart": int(rows["clear"].sum()), "count": len(rows)}


def _front(content: Content, one: SiteBoard) -> dict[str, Any] | None:
    """Score against forward passes, with the methods that no other beats in both; None where no run recorded these."""
    known = one.found.table.get("passes", pd.Series(dtype=float))
    if not (known.gt(0) & one.found.table["rank"].notna()).any():
        return None
    found = pareto_of_costs(one.found, "passes", one.found.surely_better)
    rows = found.table[found.table["passes"] > 0].to_dict("records")
    points = [
        Point(row["method"], row["passes"], row["mean"], float("nan"), float("nan"),
              "lead" if row["on_front"] else "rest", "../" + content.method_address(row["method"]))
        for row in rows
    ]  # fmt: skip
    names = ("forward passes an image, run alone", f"mean {one.found.metric}")
    return {
        "methods": listed([row["method"] for row in rows if row["on_front"]], most=None),
        "plot": plot(points, names, f"{names[1]} of {len(rows)} methods against {names[0]}; the table has the numbers",
                     logarithmic=True),
        "caption": page_of(found).caption,
    }  # fmt: skip


def _method_of(content: Content, column: str, row: Row) -> str:
    return "../" + content.method_address(row[column])


def _provenance(content: Content, one: SiteBoard) -> DataTable:
    last = {key: run.run for run in one.board.runs for key in run.cells}
    by_name = {cell.method_name: cell for cell in one.board.cells}
    rows = []
    for name in one.found.table["method"]:
        cell = by_name[name]
        method = cell.method or {}
        parameters = ", ".join(f"{key} {value}" for key, value in (method.get("parameters") or {}).items())
        rows.append({
            "method": name, "version": method.get("version", 1), "parameters": parameters,
            "run": last.get(cell.key, ""), "cell": cell.key, "registered": (cell.registered or "")[:19],
        })  # fmt: skip
    return data_table(
        "provenance", Table(PROVENANCE, pd.DataFrame(rows)), "Version, parameters and run of every method",
        links={"run": lambda row: f"../runs/{row['run']}.html" if row["run"] else ""}, thing="methods", tools=False,
    )  # fmt: skip
