"""Where protocols are: a folder for each category, and in it a file for each protocol."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from xaibench import protocols, registry

PROTOCOLS = registry.names("protocol")
SHARED = {"idsds": "sds", "sch": "x-seg-epg", "insertion-gaussian": "insertion"}
CATEGORIES = {"faithfulness", "localization", "robustness", "randomization", "complexity", "model_checks"}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_file_of_a_protocol_is_named_as_its_card(name):
    card = registry.card("protocol", name)
    module = registry.load(card).__module__
    assert module.split(".")[-1] == SHARED.get(name, name).replace("-", "_")
    assert card.category in CATEGORIES and module == f"xaibench.protocols.{card.category}.{module.split('.')[-1]}"


def test_every_file_of_a_category_is_a_protocols():
    files = {path for category in CATEGORIES for path in (Path(protocols.__file__).parent / category).glob("[a-z]*.py")}
    assert {path.stem for path in files} == {SHARED.get(name, name).replace("-", "_") for name in PROTOCOLS}


def test_a_protocol_of_somebody_else_has_no_category():
    mine = registry.card("protocol", "sds").model_copy(update={"target": "xaibench_plugin:Mine"})
    assert mine.category == ""


def test_the_list_on_a_terminal_shows_categories(command, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    listed = {line.split()[0]: line for line in command("ls", "protocols")[1].splitlines()}
    assert listed["seg-epg"].endswith("[localization]") and listed["sds-accuracy"].endswith("[model checks]")
    assert set(listed) == set(PROTOCOLS)
