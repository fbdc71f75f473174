"""Templates that escape everything: names, notes and commands come from the folders of others."""

from __future__ import annotations

from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from xaibench.printing import clean
from xaibench.report.heatmap import number
from xaibench.site.links import web_address


@cache
def environment() -> jinja2.Environment:
    """The environment of all templates; an undefined variable is an error."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("xaibench.site", "templates"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_final,
    )  # fmt: skip
    made.filters |= {"web_address": web_address, "number": number}
    return made


def render(template: str, values: dict[str, Any]) -> str:
    """A page of text from a template and what it shows."""
    return environment().get_template(template).render(values)


def _final(value: Any) -> Any:
    """Text without control characters, which also turn text around; markup of our own as it is; None as nothing."""
    if value is None:
        return ""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
