"""Replays of submissions: the list, a page for each record with both numbers of every row, and what the page of a
method shows of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from xaibench.report import columns
from xaibench.report.table import Column, Table
from xaibench.report.text import format_share
from xaibench.results.cells import part_name
from xaibench.results.replays import Replay
from xaibench.site.content import Content
from xaibench.site.page import Page
from xaibench.site.tables import DataTable, data_table
from xaibench.submission.record import SHARES, chances

MOST = 10_000  # rows on a page; the record has all
RECORD = Column("replay", "its record, by the first digits of its SHA-256", align="left")
PROTOCOL = Column("protocol", "what is measured", align="left")
INDEX = (
    RECORD,
    Column("methods", "the methods that the submission brought", align="left"),
    Column("submission", "the first digits of its name", align="left"),
    Column("results", "methods on images that the submission has"), Column("replayed", "how many of them were drawn"),
    Column("differing", "rows of them that were not equal"),
    *(Column(f"found_{share:g}", f"how likely a forgery of {share:.0%} of the results was found", format=format_share,
             title=f"finds {share:.0%} forged") for share in SHARES),
)  # fmt: skip
ROWS = (
    columns.METHOD, PROTOCOL, columns.MODEL,
    Column("image", "the image", align="left"), Column("target", "the explained class"),
    Column("unit", "what is scored", align="left"), Column("metric", "name of the score", align="left"),
    Column("submitted", "the score that was submitted; nothing where it is undefined"),
    Column("replayed", "the score that was computed again"),
    Column("equal", "whether the two are equal up to rounding", align="left"),
)  # fmt: skip
OF_METHOD = (
    RECORD, PROTOCOL, columns.MODEL,
    Column("images", "images of the result"), Column("replayed", "how many of them were replayed"),
    Column("minimum", "how many are needed to call it verified", title="needed"),
    Column("differing", "rows of it that were not equal"),
    Column("weights", "whether everybody can get the weights", align="left"),
    replace(columns.REPLAY, name="state", title="replay is"),
)  # fmt: skip


def pages(content: Content) -> Iterator[Page]:
    """The list of replays and the page of each; nothing where no submission was published."""
    if not (content.index and content.index.submissions):
        return
    by_name = {name[:16]: name for name in content.replays}
    rows = [_index_row(content, name, record) for name, record in content.replays.items()]
    table = data_table(
        "replays", Table(INDEX, pd.DataFrame(rows)), "All replays of submissions", thing="replays",
        links={"replay": lambda row: content.replay_address(by_name[row["replay"]])},
    ) if rows else None  # fmt: skip
    without = [", ".join(one.methods) for one in content.index.submissions if not one.replays]
    yield Page("replays.html", "replays.html", "Replays", "boards", {"table": table, "without": without})
    for name, record in content.replays.items():
        values = {
            "name": name, "record": record, "methods": _methods(content, record.submission),
            "chances": chance_texts(record), "table": rows_table(content, record, list(record.cells), "../"),
            "left_out": max(len(record.rows) - MOST, 0), "differing": record.differing.total(),
        }  # fmt: skip
        yield Page(content.replay_address(name), "replay.html", f"Replay {name[:16]}", "boards", values)


def of_method(content: Content, method: str) -> dict[str, Any] | None:
    """What replays say of a method: a line for each of its results in each record, and both numbers of each row; None
    where no submission is about it."""
    lines, tables = [], []
    by_name = {name[:16]: name for name in content.replays}
    found = {cell.key: (one, cell) for one in content.boards for cell in one.board.cells if cell.method_name == method}
    said = {key: content.replay_state(one.board).get(key, "") for key, (one, _) in found.items()}
    for name, record in content.replays.items():
        keys = [key for key in record.cells if key in found]
        for key in keys:
            one = record.cells[key]
            lines.append({
                "replay": name[:16], "protocol": found[key][0].protocol, "model": found[key][0].model,
                "images": one.results, "replayed": one.replayed, "minimum": one.minimum,
                "differing": record.differing[key],
                "weights": "public" if one.public_weights else "not public",
                "state": said[key],
            })  # fmt: skip
        if any(record.cells[key].replayed for key in keys):
            tables.append({"name": name[:16], "address": f"../{content.replay_address(name)}", "record": record,
                           "chances": chance_texts(record),
                           "table": rows_table(content, record, keys, "../", f"replayed-{name[:16]}")})  # fmt: skip
    if not any(said.values()):
        return None
    table = data_table(
        "replays-of-method", Table(OF_METHOD, pd.DataFrame(lines)), f"Replays of {method}", thing="results",
        links={"replay": lambda row: f"../{content.replay_address(by_name[row['replay']])}"}, tools=False,
    ) if lines else None  # fmt: skip
    return {"table": table, "tables": tables, "words": sorted(set(filter(None, said.values())))}


def chance_texts(record: Replay) -> dict[str, str]:
    """By the share of forged results how likely at least one was replayed: computed here, whatever the record says."""
    return {f"{float(share):.0%}": f"{chance:.1%}"
            for share, chance in chances(record.results, record.replayed).items()}  # fmt: skip


def rows_table(content: Content, record: Replay, keys: list[str], root: str, name: str = "replayed") -> DataTable:
    """Both numbers of the rows of some results of a record, differing ones first."""
    cells = {key: content.store.cell(key) for key in keys if content.store.has_cell(key)}
    rows = sorted((row for row in record.rows if row.cell in cells), key=lambda row: row.equal)[:MOST]
    frame = pd.DataFrame([{
        "method": cells[row.cell].method_name, "protocol": part_name(cells[row.cell].context, "protocol"),
        "model": part_name(cells[row.cell].context, "model"), "image": row.image_id,
        "target": pd.NA if row.target is None else row.target, "unit": row.unit, "metric": row.metric,
        "submitted": _number(row.submitted), "replayed": _number(row.replayed), "equal": "yes" if row.equal else "no",
    } for row in rows], columns=[column.name for column in ROWS])  # fmt: skip
    known = set(content.method_slugs)
    return data_table(
        name, Table(ROWS, frame), "Both numbers of every row that was replayed", thing="rows",
        links={"method": lambda row: root + content.method_address(row["method"]) if row["method"] in known else ""},
        selects=("method", "protocol", "model", "metric", "equal"),
        style=lambda row: "" if row["equal"] == "yes" else "lead",
    )  # fmt: skip


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _index_row(content: Content, name: str, record: Replay) -> dict[str, Any]:
    return {
        "replay": name[:16], "methods": _methods(content, record.submission), "submission": record.submission[:16],
        "results": record.results, "replayed": record.replayed, "differing": record.differing.total(),
    } | {f"found_{share}": chance for share, chance in chances(record.results, record.replayed).items()}  # fmt: skip


def _methods(content: Content, submission: str) -> str:
    found = next(one for one in content.index.submissions if one.submission == submission)
    return ", ".join(found.methods)
