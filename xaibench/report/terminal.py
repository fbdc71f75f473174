"""A table for a terminal, which fits its width as well as it can."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.table import Table

NARROWEST = 72  # characters of a line; a narrower terminal gets lines of this length
NARROWEST_NAME, WIDEST_NAME = 8, 36  # characters of a column of names


class TerminalColumn(Protocol):
    """What a terminal needs to know of a column; see `report.table.Column`."""

    @property
    def name(self) -> str: ...
    @property
    def header(self) -> str: ...
    @property
    def align(self) -> str: ...
    @property
    def wraps(self) -> bool: ...
    @property
    def dropped(self) -> int: ...


def terminal_table(
    columns: Sequence[TerminalColumn], lines: Sequence[Sequence[str]], quiet: Sequence[bool], gaps: Collection[int],
    width: int | None, colour: bool,
) -> str:  # fmt: skip
    """A table for a terminal of `width` columns (at least 72), or as wide as it needs.

    lines: the texts of each row, one for each column, without control characters. quiet: whether each row is dim; rows
    beyond its end are not. gaps: numbers of rows after which an empty line follows. Where the terminal is too narrow,
    the gaps between columns shrink, then the columns that may be dropped go one by one.
    """
    from rich.console import Console

    stream = io.StringIO()
    console = Console(
        file=stream, width=max(width or 1000, NARROWEST), force_terminal=colour, no_color=not colour, highlight=False
    )
    wide = console.options.update(width=1000)
    table = _made(columns, lines, quiet, gaps, without=(), between=2)
    order = [column.name for column in sorted(columns, key=lambda column: column.dropped) if column.dropped]
    for number in range(len(order) + 1):
        if console.measure(table, options=wide).maximum <= console.width:
            break
        table = _made(columns, lines, quiet, gaps, without=order[:number], between=1)
    console.print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def _made(
    columns: Sequence[TerminalColumn], lines: Sequence[Sequence[str]], quiet: Sequence[bool], gaps: Collection[int],
    without: Sequence[str], between: int,
) -> Table:  # fmt: skip
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, between, 0, 0))
    kept = [number for number, column in enumerate(columns) if column.name not in without]
    for column in (columns[number] for number in kept):
        table.add_column(
            Text(column.header), justify=column.align, overflow="fold", no_wrap=not column.wraps,
            min_width=NARROWEST_NAME if column.align == "left" else None,
            max_width=WIDEST_NAME if column.wraps else None,
        )  # fmt: skip
    for number, line in enumerate(lines):
        dim = number < len(quiet) and quiet[number]
        table.add_row(*(Text(line[place]) for place in kept), style="dim" if dim else None)
        if number in gaps:
            table.add_row()
    return table
