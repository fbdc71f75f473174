"""A page: title, tables, paragraphs and lists of one result, laid out for a terminal and for a document.

The terminal and the document differ in what they show, as a terminal is narrow and its notes are printed after the
page. Rows (CSV) and value (JSON) are for programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xaibench.printing import clean
from xaibench.report.table import Table, html_list
from xaibench.report.text import fill, html_text, json_text, markdown


@dataclass(frozen=True)
class Heading:
    """The heading of a part of a page."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list; nothing where it is empty."""

    items: Sequence[str]


Block = str | Heading | Bullets | Table  # a text is a paragraph


@dataclass(frozen=True)
class Page:
    """Everything that is shown of one result.

    terminal: what stands between title and caption in a terminal. document: what follows the title in Markdown and
    HTML, caption included. rows: the table that CSV has. value: the object that JSON has.
    """

    title: str
    caption: str
    terminal: Sequence[Block]
    document: Sequence[Block]
    rows: Table
    value: dict[str, Any]

    def to_text(self, width: int | None = None, colour: bool = False) -> str:
        """Title, tables and caption for a terminal of `width` columns (at least 72), or as wide as the tables need."""
        # A hard space keeps the dot at the end of a line, never at the beginning of the next.
        title = fill(clean(self.title).replace(" · ", "\u00a0· "), width).replace("\u00a0", " ")
        body = "\n\n".join(_text(block, width, colour) for block in self.terminal)
        return "\n\n".join([title, body, fill(clean(self.caption), width)])

    def to_markdown(self) -> str:
        """Title, tables, caption and notes in Markdown; names are escaped, so they cannot become markup."""
        blocks = [f"**{markdown(self.title)}**", *map(_markdown, self.document)]
        return "\n\n".join(filter(None, blocks)) + "\n"

    def to_html(self) -> str:
        """The same as a `<section>` of HTML: an `<h2>`, plain tables, paragraphs and lists, everything escaped."""
        blocks = [f"<h2>{html_text(self.title)}</h2>", *map(_html, self.document)]
        return "\n".join(["<section>", *filter(None, blocks), "</section>", ""])

    def to_csv(self) -> str:
        """The main table with full precision, empty where there is no value."""
        return self.rows.to_csv()

    def to_json(self) -> str:
        """Everything as one JSON object; null where there is no value."""
        return json_text(self.value)


def _text(block: Block, width: int | None, colour: bool) -> str:
    if isinstance(block, Table):
        return block.to_text(width, colour)
    if isinstance(block, Bullets):
        return "\n".join(f"- {clean(item)}" for item in block.items)
    return clean(block.text if isinstance(block, Heading) else block)


def _markdown(block: Block) -> str:
    if isinstance(block, Table):
        return block.to_markdown()
    if isinstance(block, Bullets):
        return "\n".join(f"- {markdown(item)}" for item in block.items)
    return f"**{markdown(block.text)}**" if isinstance(block, Heading) else markdown(block)


def _html(block: Block) -> str:
    if isinstance(block, Table):
        return block.to_html()
    if isinstance(block, Bullets):
        return html_list(block.items) if block.items else ""
    return f"<h3>{html_text(block.text)}</h3>" if isinstance(block, Heading) else f"<p>{html_text(block)}</p>"
