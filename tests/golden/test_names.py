"""The public names are those that are listed: none goes or changes without a decision (docs/stability.md)."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import names
import pytest

import xaibench

PAGE = Path(__file__).parents[2] / "docs" / "stability.md"


def test_every_public_name_is_listed_and_none_is_gone():
    listed, found = names.FILE.read_text().splitlines(), names.lines()
    gone, new = sorted(set(listed) - set(found)), sorted(set(found) - set(listed))
    assert not gone, f"public names are deprecated for a version before they go (docs/stability.md): {gone}"
    assert not new, f"list them by `python tests/golden/record.py names`: {new}"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("xaibench.run", "Python"), ("xaibench.Evidence.gradient_at", "class"), ("RunConfig.images", "request"),
     ("xaibench.functional.box_iou(", "function"), ("xaibench run --grid", "option"), ("rows/*.parquet: score", "row")],
)  # fmt: skip
def test_the_list_has_every_kind_of_name(name, kind):
    assert any(line.startswith(name) for line in names.lines()), kind


def test_the_page_names_every_public_object():
    section = PAGE.read_text().partition("## What is public")[2].partition("\n## ")[0]
    listed = set(re.findall(r"`(\w+)`", section.partition("| Python |")[2].partition("\n")[0]))
    assert listed == set(xaibench.__all__)


def test_a_deprecated_name_still_works_and_warns():
    """`Evidence.stage` was the name of `activations_and_gradients` in 0.1."""
    seen = type("Seen", (), {"stage": xaibench.Evidence.stage, "activations_and_gradients": "maps"})()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        assert seen.stage == "maps"
    assert [(one.category, one.filename) for one in found] == [(DeprecationWarning, __file__)]
