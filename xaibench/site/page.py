"""What a page and a file of a site are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Page:
    """A page: its address from the site's folder, its template, its title, the section of the navigation that it is
    in, and what the template shows."""

    address: str
    template: str
    title: str
    section: str
    values: dict[str, Any]

    @property
    def root(self) -> str:
        """The way from the page to the site's folder: `` or `../`."""
        return "../" * self.address.count("/")


@dataclass(frozen=True)
class File:
    """A file beside the pages: its address from the site's folder, and its bytes."""

    address: str
    data: bytes
