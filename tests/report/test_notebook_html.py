"""What a notebook shows: the same numbers as elsewhere, and nothing of others becomes markup or a formula."""

from __future__ import annotations

import base64
import importlib
import io
import pkgutil
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import xaibench
import xaibench.analysis
from xaibench.explanation.result import Explanation, Explanations, Guess
from xaibench.presentation import Presentable
from xaibench.report.pages import LAYOUTS

HOSTILE = "<script>alert(1)</script> $\\frac$ \" onerror='x' &amp;\x1b[31m"


class Elements(HTMLParser):
    """The elements, their attributes, and all text of a piece of HTML."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.open += [tag] if tag not in ("img", "br") else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def check(html: str, most: int) -> Elements:
    """The elements of HTML that is whole, has no markup of others and no formulas, and is not larger than `most`."""
    found = Elements(html)
    assert not found.open and "script" not in found.tags and "\x1b" not in html and len(html) < most
    assert {name for name, _ in found.attributes} <= {"class", "style", "title", "scope", "alt", "src"}
    assert "mathjax_ignore" in html.partition(">")[0] and "tex2jax_ignore" in html.partition(">")[0]
    return found


def explanation(**fields) -> Explanation:
    top = (Guess(0, HOSTILE, 0.9),)
    given = {"image_id": HOSTILE, "target": top[0], "model": HOSTILE, "dataset": "d"} | fields
    image = np.full((8, 8, 3), 120, np.uint8)
    return Explanation(
        image=image, top=top, **({"maps": {HOSTILE: torch.randn(8, 8), "ixg": torch.ones(8, 8)}} | given)
    )


def test_a_panel_is_a_picture_with_its_description():
    seen = explanation(skipped={HOSTILE: HOSTILE}, failed={"rise": "no memory"}, warnings=(HOSTILE,))
    found = check(seen._repr_html_(), 300_000)
    attributes = dict(found.attributes)
    assert "<script>" in attributes["alt"] and "maps for" in attributes["alt"]
    picture = base64.b64decode(attributes["src"].removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(picture)) as image:
        assert image.width > 300 and np.asarray(image.convert("L")).std() > 5
    assert "rise: no memory" in found.text and "warning: <script>" in found.text


def test_explanations_of_several_photos_are_a_list_and_one_picture():
    several = Explanations([explanation(), explanation(image_id="b.png")])
    found = check(several._repr_html_(), 400_000)
    assert found.tags.count("img") == 1 and "b.png" in dict(found.attributes)["alt"] and several[1].image_id == "b.png"


def test_an_explanation_without_maps_says_why():
    found = check(explanation(maps={}, failed={"ixg": "broke"})._repr_html_(), 1000)
    assert "img" not in found.tags and "ixg: broke" in found.text


def test_every_result_that_can_be_printed_shows_itself():
    """All by one mechanism; a result without it would show Python's own text."""
    for module in pkgutil.iter_modules(xaibench.analysis.__path__):
        importlib.import_module(f"xaibench.analysis.{module.name}")
    kinds, waiting = {}, [Presentable]
    while waiting:
        waiting += (below := waiting.pop()).__subclasses__()
        kinds |= {below.layout: below} if hasattr(below, "layout") else {}
    assert kinds.keys() == LAYOUTS.keys()
    assert all(kind._repr_html_ is Presentable._repr_html_ for kind in kinds.values())


@pytest.mark.process
def test_results_show_their_boards_with_the_printed_numbers(home, tmp_path):
    def odd(evidence):
        return evidence.inputs * evidence.gradient()

    images = [(torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(n)), n % 2) for n in range(4)]
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), *head).eval()
    results = xaibench.run(
        "sds,sparseness", model=net, dataset=images, methods=[odd, "ixg", "random"],
        classes=["a", "b"], out=tmp_path / "<b>r<i>", quiet=True, settings={"sds": {"grid": 2}},
    )  # fmt: skip
    results.manifest.skipped["rollout"] = HOSTILE
    html = results._repr_html_()
    found = check(html, 30_000)
    assert found.tags.count("table") == 2 and "computed 4 images" in found.text and "<b>r<i>" in found.text
    for protocol in results.boards:
        for mean in results.leaderboard(protocol).table["mean"]:
            assert f">{mean:.4f}<" in html
    assert "skipped: rollout <script>" in found.text
    assert results.leaderboard("sds")._repr_html_().count("<tr>") == 4
