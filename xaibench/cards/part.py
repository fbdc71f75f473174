"""What all cards share."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """What all cards and parts of cards share: unknown fields are errors, and a text below a field describes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Paper(Part):
    """Where a method, model, data set or protocol was published."""

    title: str
    """Its title."""
    year: int
    """The year of the version that is cited."""
    url: str = ""
    """Where it can be read."""


class Card(Part):
    """What every card says."""

    kind: ClassVar[str]
    name: str
    """The name on the command line: the file's, without `.toml`."""
    title: str
    """What it is, in a few words."""
    version: int = Field(1, ge=1)
    """Rises when the numbers that it leads to change; part of every key."""
    target: str = ""
    """The function or class, as `module:attribute`, or `file.py:attribute` with the path relative to the card's."""
    parameters: dict[str, Any] = {}
    """Keyword parameters of the target; part of every key."""
    tags: tuple[str, ...] = ()
    """Words to find it by; `paper` on a method makes it run by default."""
    paper: Paper | None = None
    """Where it was published."""
    notes: str = ""
    """What a user should know."""
    source: str = ""
    """Names the code of a plug-in; made by its decorator."""
