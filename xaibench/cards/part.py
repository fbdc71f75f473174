"""The base classes of all cards."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xaibench.configuration import check_table


class Part(BaseModel):
    """The base of cards and of their parts: unknown fields are errors, and the text below a field is its
    description."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="after")
    def _plain_tables(self) -> Part:
        """Tables of cards are in keys, so they hold what requests can hold."""
        for name, value in self:
            if isinstance(value, dict) and not any(isinstance(item, Part) for item in value.values()):
                check_table(name, value)
        return self


class Paper(Part):
    """Where a method, model, data set or protocol was published."""

    title: str
    """Its title."""
    year: int
    """The year of the version that is cited."""
    url: str = ""
    """Its address."""


class Card(Part):
    """The fields of every card."""

    kind: ClassVar[str]
    name: str
    """The name on the command line: the file's, without `.toml`."""
    title: str
    """A short description."""
    version: int = Field(1, ge=1)
    """Raised when results change; part of every key."""
    target: str = ""
    """The function or class, as `module:attribute`, or `file.py:attribute` with the path relative to the card's."""
    parameters: dict[str, Any] = {}
    """Keyword parameters of the target; part of every key."""
    tags: tuple[str, ...] = ()
    """Keywords; a method with `paper` runs by default."""
    paper: Paper | None = None
    """Where it was published."""
    notes: str = ""
    """Notes for users."""
    source: str = ""
    """Identifies the code of a plug-in; set by its decorator."""
