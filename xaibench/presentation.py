"""Results that can be printed, without knowing how: analysis makes them, report lays them out, neither knows the other.

The package itself, which stands above both, names the function that turns a result into a page.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol


class Page(Protocol):
    """What a result looks like; `xaibench.report.page.Page` is one."""

    @property
    def caption(self) -> str: ...
    def to_text(self, width: int | None = None, colour: bool = False) -> str: ...
    def to_markdown(self) -> str: ...
    def to_csv(self) -> str: ...
    def to_json(self) -> str: ...
    def to_html(self) -> str: ...


def notebook_html(html: str) -> str:
    """HTML for the output of a notebook, in which dollar signs in names are no formulas."""
    return f'<div class="tex2jax_ignore mathjax_ignore">\n{html.rstrip()}\n</div>\n'


class Presentable:
    """A result with a page: a subclass names its layout, and everything that is printed follows from its page."""

    layout: ClassVar[str]

    def page(self) -> Page:
        """Title, tables, caption and notes, ready to be printed in any format."""
        return _page_of(self)

    @property
    def caption(self) -> str:
        """What the numbers mean, in a few sentences."""
        return self.page().caption

    def to_text(self, width: int | None = None, colour: bool = False) -> str:
        """Title, tables and caption for a terminal of `width` columns (default: as wide as the tables need)."""
        return self.page().to_text(width, colour)

    def to_markdown(self) -> str:
        """Title, tables and caption in Markdown."""
        return self.page().to_markdown()

    def to_csv(self) -> str:
        """The main table with full precision, empty where there is no value."""
        return self.page().to_csv()

    def to_json(self) -> str:
        """Everything as one JSON object; null where there is no value."""
        return self.page().to_json()

    def to_html(self) -> str:
        """Title, plain tables and caption as a `<section>` of HTML."""
        return self.page().to_html()

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return notebook_html(self.to_html())


def lay_out_with(page_of: Callable[[Any], Page]) -> None:
    """Sets the function that turns every result into its page."""
    global _page_of
    _page_of = page_of


def _page_of(result: Any) -> Page:
    raise RuntimeError("no layout of results is set; import xaibench first")
