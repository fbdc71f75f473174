"""Explanations as HTML: the picture of `panel` inside the page, and in words what a picture cannot say."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Protocol

from xaibench.report import panel
from xaibench.report.table import html_list
from xaibench.report.text import html_text


class Explanation(panel.Explanation, Protocol):
    """What the HTML says beyond the picture: why methods have no map, and warnings about the model."""

    @property
    def skipped(self) -> Mapping[str, str]: ...
    @property
    def failed(self) -> Mapping[str, str]: ...
    @property
    def warnings(self) -> Sequence[str]: ...


def panel_html(explanations: Sequence[Explanation]) -> str:
    """A `<figure>` with the picture as data and its description, and a list of what is missing; all text is escaped."""
    shown = [seen for seen in explanations if seen.maps]
    parts = [_figure(shown)] if shown else []
    notes = [note for seen in explanations for note in _notes(seen)]
    return "\n".join([*parts, *([html_list(list(dict.fromkeys(notes)))] if notes else [])])


def _figure(explanations: Sequence[Explanation]) -> str:
    data = base64.b64encode(panel.panel_bytes(explanations)).decode()
    text = "; ".join(
        f"{seen.image_id}: {seen.prediction.name} {seen.prediction.chance}, maps for {seen.target.name}: "
        f"{', '.join(seen.maps)}"
        for seen in explanations
    )
    return f'<figure><img alt="{html_text(text)}" src="data:image/png;base64,{data}" style="max-width: 100%"></figure>'


def _notes(seen: Explanation) -> list[str]:
    without = {name: reason for reasons in (seen.skipped, seen.failed) for name, reason in reasons.items()}
    return [*(f"{name}: {reason}" for name, reason in without.items()), *(f"warning: {line}" for line in seen.warnings)]
