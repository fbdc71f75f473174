"""From a `report.Table` to what a page shows of it: cells with the values to sort by, links and drawings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from markupsafe import Markup

from xaibench.report.table import Table
from xaibench.report.text import csv_value

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """A cell: its text, the value with full precision where the text is a rounded number, a link, a drawing."""

    text: str = ""
    value: str | None = None
    link: str = ""
    drawing: Markup | None = None
    style: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A row: its cells, an id that links lead to, and a style."""

    entries: tuple[Entry, ...]
    id: str = ""
    style: str = ""


@dataclass(frozen=True)
class Head:
    """A column: its name in files, its title, what it means, whether it has numbers, names the row or is a drawing."""

    name: str
    title: str
    explanation: str = ""
    numeric: bool = True
    names_row: bool = False
    drawing: Markup | None = None


@dataclass(frozen=True)
class Drawing:
    """A column of drawings that stands after the column `after`."""

    head: Head
    draw: Callable[[Row], Markup]
    after: str


@dataclass(frozen=True)
class DataTable:
    """A table of a page. selects: names of columns by whose values rows can be chosen, with these values."""

    name: str
    caption: str
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]
    thing: str = "rows"
    selects: Mapping[str, Sequence[str]] = field(default_factory=dict)
    wide: bool = False
    tools: bool = True


def data_table(
    name: str,
    table: Table,
    caption: str,
    *,
    thing: str = "rows",
    links: Mapping[str, Callable[[Row], str]] | None = None,
    drawings: Sequence[Drawing] = (),
    selects: Sequence[str] = (),
    row_id: Callable[[Row], str] = lambda row: "",
    style: Callable[[Row], str] = lambda row: "",
    shade: Callable[[str, Any], str] = lambda column, value: "",
    wide: bool = False,
    tools: bool = True,
) -> DataTable:
    """The columns and rows that a table shows in HTML, ready to be laid out.

    links: from a row to an address inside the site, by the name of the column that shows it ("" is none). drawings:
    further columns. selects: columns by whose values a reader may choose rows; those with one value are left out.
    row_id and style: the id and the style of a row. shade: the `style` attribute of a number in a column.
    """
    columns, shown = table.shown("html")
    header = next((column.name for column in columns if column.align == "left"), "")
    whole = table.rows.to_dict("records")
    heads: list[Head] = []
    for column in columns:
        heads.append(Head(column.name, column.header, column.explanation, column.align == "right",
                          column.name == header))  # fmt: skip
        heads += [drawing.head for drawing in drawings if drawing.after == column.name]
    lines = []
    for row, values in zip(whole, shown, strict=True):
        entries: list[Entry] = []
        for column in columns:
            value = values[column.name]
            link = links[column.name](row) if links and column.name in links else ""
            entries.append(Entry(column.format(value), _exact(value), link, style=shade(column.name, value)))
            entries += [Entry(drawing=d.draw(row)) for d in drawings if d.after == column.name]
        lines.append(Line(tuple(entries), row_id(row), style(row)))
    chosen = {name: sorted({str(values[name]) for values in shown}) for name in selects if name in (shown or [{}])[0]}
    chosen = {name: values for name, values in chosen.items() if len(values) > 1}
    return DataTable(name, caption, tuple(heads), tuple(lines), thing, chosen, wide, tools)


def _exact(value: Any) -> str | None:
    """The value as it is in CSV, for numbers; None for texts, whose text is their value."""
    if isinstance(value, str):
        return None
    if pd.isna(value):
        return ""
    return repr(float(value)) if isinstance(value, float) else str(csv_value(value))
