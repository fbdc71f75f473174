"""Comparisons of designs in a board folder, read strictly: what `xaibench compare` printed comes from others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xaibench.errors import XaibenchError
from xaibench.publication.comparisons import Comparison, published_comparisons
from xaibench.report.study_page import headline
from xaibench.results.records import VALUES, Count, Number, Text, Words
from xaibench.site.content import Content
from xaibench.site.links import slugs

Rows = Annotated[list[dict[Text, Text | bool | int | Number | None]], Field(max_length=VALUES)]
Ends = Annotated[list[Number | None], Field(min_length=2, max_length=2)]


class _Part(BaseModel):
    """Fields that a newer xaibench may add are left out."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class PairOfArms(_Part):
    """Two arms, method by method; the names are those of `report.inputs.Pair`, where they are not those of the JSON."""

    before: Text
    after: Text
    change: Number
    interval: Ends
    improved: Count
    clearly: Count
    worsened: Annotated[Count, Field(alias="clearly_worse")]
    count: Annotated[Count, Field(alias="methods")]
    agreement: Annotated[Number | None, Field(alias="kendall_tau")]
    images: Count
    trainings: Annotated[list[Count], Field(min_length=2, max_length=2)]
    enough: Annotated[bool, Field(alias="enough_trainings")] = False
    rows: Rows

    @property
    def low(self) -> float:
        """The lower end of the mean change."""
        return float("nan") if self.interval[0] is None else self.interval[0]

    @property
    def high(self) -> float:
        """Its upper end."""
        return float("nan") if self.interval[1] is None else self.interval[1]

    @property
    def table(self) -> pd.DataFrame:
        """One row per method, with `columns.CHANGES`."""
        return pd.DataFrame(self.rows).assign(enough_trainings=self.enough)

    def sentence(self) -> str:
        """Mean change, and how many methods improve."""
        return headline(self)


class StudyRecord(_Part):
    """A comparison under one protocol."""

    comparison: Text
    title: Text
    question: Words
    claim: Words = ""
    metric: Text
    pairs: Annotated[list[PairOfArms], Field(max_length=VALUES)]
    trainings: Rows
    spread: Rows | None = None
    arms: dict[Text, Words]
    notes: list[Words]
    caption: Words


@dataclass(frozen=True)
class SiteStudy:
    """A comparison and the part of addresses that is its own."""

    slug: str
    study: StudyRecord

    @property
    def address(self) -> str:
        """Of its page, from the site's folder."""
        return f"designs/{self.slug}.html"


def studies(content: Content) -> list[SiteStudy]:
    """The comparisons of a board folder, by title. Raises XaibenchError where a file is no comparison."""
    if content.index is None:
        return []
    found = published_comparisons(content.root, content.index)
    names = slugs(one.title for one in found)
    return [SiteStudy(names[one.title], _record(one)) for one in found]


def _record(one: Comparison) -> StudyRecord:
    try:
        return StudyRecord.model_validate(one.content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part)[:60] for part in first["loc"])
        reason = " ".join(f"{place}: {first['msg']}".split())[:200]
        raise XaibenchError(f"comparison {one.title[:80]!r} cannot be shown: {reason}; publish it again") from None
