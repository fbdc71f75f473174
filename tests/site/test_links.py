"""Addresses, links and names of others: nothing of them leads elsewhere or becomes markup."""

from __future__ import annotations

import re

import pytest
from site_folder import QUOTED, SCRIPT, Reader

from xaibench import registry
from xaibench.cards import MethodCard
from xaibench.site.links import slugs, web_address
from xaibench.site.render import render


def test_slugs_are_different_whatever_the_names_and_names_that_can_be_files_keep_theirs():
    names = [
        "grad-cam",
        "Grad-CAM",
        "grad cam",
        "grad/cam",
        "grad-cam++",
        "grad-cam-plus-plus",
        "",
        "..",
        "ä",
        "ö",
        "x" * 300,
    ]
    found = slugs(names)
    assert found["grad-cam"] == "grad-cam" and set(found) == set(names)
    assert len({slug.lower() for slug in found.values()}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,110}", slug) for slug in found.values())


@pytest.mark.parametrize(
    "text",
    ["javascript:alert(1)", "JavaScript:alert(1)", " java\tscript:alert(1)", "data:text/html,<script>", "//evil.org",
     "file:///etc/passwd", "vbscript:x", "/etc/passwd", "", "https:", "https://", "http://[", "https://a b/", "ftp://a.b/c"],
)  # fmt: skip
def test_only_addresses_of_the_web_become_links(text):
    assert web_address(text) == ""


def test_every_method_that_ships_has_a_formula_of_one_line():
    for name in registry.names("method"):
        formula = registry.card("method", name).formula
        assert formula.startswith("M") and formula.isprintable() and len(formula) < 170, name


def test_a_card_with_a_hostile_paper_has_no_link():
    paper = {"title": SCRIPT, "year": 2020, "url": "javascript:alert(1)"}
    card = MethodCard(name="x", title=QUOTED, paper=paper, notes=SCRIPT, formula="<b>a</b>")
    values = {"name": SCRIPT, "card": card, "kind": "method", "version": 1, "parameters": {"<i>": SCRIPT}, "maps": [],
              "replays": (), "root": "../", "sections": {}, "section": "methods", "title": SCRIPT}  # fmt: skip
    empty = {
        "name": "r",
        "caption": "",
        "heads": (),
        "lines": (),
        "thing": "",
        "selects": {},
        "wide": False,
        "tools": False,
    }
    page = Reader(render("method.html", values | {"ranks": empty}))
    assert [tag for tag, _ in page.tags if tag in ("script", "b", "i")] == ["script"]  # the site's own
    assert not [attributes for tag, attributes in page.tags if "javascript" in str(attributes.get("href"))]
    assert page.text.count(SCRIPT) >= 4 and "<b>a</b>" in page.text
