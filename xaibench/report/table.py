"""One way to render every table: columns that know their format, and rows, as text, Markdown, CSV, JSON and HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from pandas.api.types import is_numeric_dtype

from xaibench.printing import clean
from xaibench.report.terminal import terminal_table
from xaibench.report.text import csv_value, fill, format_value, html_text, json_text, markdown, without_missing

Output = Literal["text", "markdown", "csv", "json", "html"]
EVERYWHERE: frozenset[Output] = frozenset({"text", "markdown", "csv", "json", "html"})
FOR_PEOPLE: frozenset[Output] = frozenset({"text", "markdown", "html"})
FOR_PROGRAMS: frozenset[Output] = frozenset({"csv", "json"})
ON_SCREEN: frozenset[Output] = frozenset({"text", "html"})


@dataclass(frozen=True)
class Column:
    """All that is known of a column; every output follows from it.

    name: the key in rows, CSV and JSON. title: the header for people (default: the name). explanation: what the values
    mean, shown by HTML when the header is pointed at and listed in the JSON of a table. format: from a value to text,
    for people; it gives "" where there is no value. format_markdown: where Markdown differs from that. align: `left`
    for names, `right` for numbers; wraps: whether a long name may take several lines of a terminal. value: from a row
    to the value, for a column that is computed from others. outputs: in which outputs the column is shown. hidden_if:
    from the values to whether text and HTML leave the column out. dropped: 1 for the column that a narrow terminal
    drops first, 2 for the next; 0: never. foreign: whether the title comes from other people's code and is escaped.
    """

    name: str
    explanation: str = ""
    title: str = ""
    format: Callable[[Any], str] = format_value
    format_markdown: Callable[[Any], str] | None = None
    align: Literal["left", "right"] = "right"
    wraps: bool = False
    value: Callable[[Mapping[str, Any]], Any] | None = None
    outputs: frozenset[Output] = EVERYWHERE
    hidden_if: Callable[[Sequence[Any]], bool] | None = None
    dropped: int = 0
    foreign: bool = False

    @property
    def header(self) -> str:
        """The title, without control characters."""
        return clean(self.title or self.name)


@dataclass(frozen=True)
class Table:
    """Rows under columns.

    columns: in their order; those that the rows do not have are left out. rows: a data frame. caption and notes: what
    the numbers mean and what else a reader must know; every output but CSV shows them. quiet: whether each row is dim
    in a terminal (default: none). gaps: numbers of rows after which a terminal shows an empty line.
    """

    columns: tuple[Column, ...]
    rows: pd.DataFrame
    caption: str = ""
    notes: tuple[str, ...] = ()
    quiet: Sequence[bool] = ()
    gaps: Sequence[int] = ()

    @classmethod
    def of_text(cls, headers: Sequence[str], lines: Iterable[Sequence[str]], quiet: Sequence[bool] = ()) -> Table:
        """A table of texts that are formatted already, aligned to the right."""
        names = [f"column {number}" for number in range(len(headers))]
        columns = tuple(Column(name, title=header) for name, header in zip(names, headers, strict=True))
        return cls(columns, pd.DataFrame(list(lines), columns=names, dtype=object), quiet=quiet)

    def shown(self, output: Output) -> tuple[list[Column], list[dict[str, Any]]]:
        """The columns that an output shows, and the rows with a value for each of them."""
        rows = self.rows.to_dict("records")
        columns = [c for c in self.columns if output in c.outputs and (c.value or c.name in self.rows)]
        rows = [{c.name: c.value(row) if c.value else row[c.name] for c in columns} for row in rows]
        if output in ON_SCREEN:
            columns = [c for c in columns if not (c.hidden_if and c.hidden_if([row[c.name] for row in rows]))]
        return columns, rows

    def to_text(self, width: int | None = None, colour: bool = False) -> str:
        """The table for a terminal of `width` columns (at least 72), or as wide as it needs; then caption and notes."""
        columns, rows = self.shown("text")
        lines = [[clean(column.format(row[column.name])) for column in columns] for row in rows]
        table = terminal_table(columns, lines, self.quiet, self.gaps, width, colour)
        parts = [table, fill(clean(self.caption), width), "\n".join(map(clean, self.notes))]
        return "\n\n".join(filter(None, parts))

    def to_markdown(self) -> str:
        """The table in Markdown, then caption and notes; names are escaped, so they cannot become markup."""
        columns, rows = self.shown("markdown")
        titles = (markdown(column.header) if column.foreign else column.header for column in columns)
        lines = [f"| {' | '.join(titles)} |"]
        lines.append("|" + "|".join(" :-- " if column.align == "left" else " --: " for column in columns) + "|")
        for row in rows:
            cells = (markdown((c.format_markdown or c.format)(row[c.name])) for c in columns)
            lines.append(f"| {' | '.join(cells)} |")
        notes = "\n".join(f"- {markdown(note)}" for note in self.notes)
        return "\n\n".join(filter(None, ["\n".join(lines), markdown(self.caption), notes]))

    def to_csv(self) -> str:
        """The rows with full precision, empty where there is no value; texts as `csv_value`."""
        columns, rows = self.shown("csv")
        computed = {column.name: [row[column.name] for row in rows] for column in columns if column.value}
        table = self.rows.assign(**computed)[[column.name for column in columns]]
        for name in (name for name in table if not is_numeric_dtype(table[name])):  # numbers keep their type
            table[name] = table[name].map(csv_value)
        return table.to_csv(index=False, lineterminator="\n")

    def records(self) -> list[dict[str, Any]]:
        """The rows as in JSON: dicts by column name, None where there is no value."""
        return without_missing(self.shown("json")[1])

    def to_json(self) -> str:
        """One JSON object: caption, notes, columns with their explanations, and rows."""
        columns = [{"name": c.name, "title": c.header, "explanation": c.explanation} for c in self.shown("json")[0]]
        return json_text(
            {"caption": self.caption, "notes": list(self.notes), "columns": columns, "rows": self.records()}
        )

    def to_html(self) -> str:
        """A plain `<table>` whose headers have scopes, and the notes below it; everything is escaped."""
        columns, rows = self.shown("html")
        header = next((column for column in columns if column.align == "left"), None)  # names the row
        lines = ["<table>", *([f"<caption>{html_text(self.caption)}</caption>"] if self.caption else []), "<thead><tr>"]
        for column in columns:
            hint = f' title="{html_text(column.explanation)}"' if column.explanation else ""
            lines.append(f'<th scope="col" style="text-align: {column.align}"{hint}>{html_text(column.header)}</th>')
        lines += ["</tr></thead>", "<tbody>"]
        for row in rows:
            lines.append("<tr>")
            for column in columns:
                tag, scope = ("th", ' scope="row"') if column is header else ("td", "")
                text = html_text(column.format(row[column.name]))
                lines.append(f'<{tag}{scope} style="text-align: {column.align}">{text}</{tag}>')
            lines.append("</tr>")
        lines += ["</tbody>", "</table>", *([html_list(self.notes)] if self.notes else [])]
        return "\n".join(lines)


def html_list(items: Sequence[str]) -> str:
    """Texts as a list in HTML, escaped."""
    return "\n".join(["<ul>", *(f"<li>{html_text(item)}</li>" for item in items), "</ul>"])
