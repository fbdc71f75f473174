"""Panels: what is on them, that nothing overlaps or leaves the page, that files are whole."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from xaibench.errors import XaibenchError
from xaibench.explanation.api import Explanation, Guess
from xaibench.report.panel import panel

HOSTILE = [
    "$\\frac$",
    "<b>&amp;",
    "two\nlines",
    "\x1b[31mred",
    "a_very^long_name_of_a_plug-in_of_somebody_else",
    "日本",
]


def explanation(names: list[str], seed: int = 0, **fields) -> Explanation:
    generator = torch.Generator().manual_seed(seed)
    image = (np.indices((32, 32)).sum(0)[..., None] * np.array([3, 2, 1]) % 255).astype(np.uint8)
    maps = {name: torch.randn(32, 32, generator=generator) * 10.0 ** (2 - i) for i, name in enumerate(names)}
    top = (Guess(3, "black and gold garden spider", 0.912), Guess(1, "tench", 0.05), Guess(0, "x", 0.001))
    given = {"image_id": "photo.jpg", "target": top[0], "model": "a model " * 9, "dataset": "imagenet: 224 px"} | fields
    return Explanation(image=image, top=top, maps=maps, **given)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, as matplotlib has them."""
    from matplotlib.figure import Figure

    kept, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **more: (kept.append(self), save(self, *args, **more)))
    return kept


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("count", [1, 2, *(pytest.param(n, marks=pytest.mark.process) for n in (5, 6, 11, 19))])
def test_no_text_leaves_the_page_or_covers_another(drawn, tmp_path, count, assert_clean):
    names = [*HOSTILE, *(f"method-{i}" for i in range(20))][:count]
    asked = {"target": Guess(7, "a class of a long name that nobody asked for", 0.001), "image_id": "long" * 20}
    panel([explanation(names), explanation(names, 1, **asked)], tmp_path / "panel.png")
    (figure,) = drawn
    assert_clean(figure)
    pictures = [axes.get_window_extent() for axes in figure.axes]
    assert not any(one.overlaps(other) for i, one in enumerate(pictures) for other in pictures[:i])
    assert figure.get_size_inches()[0] <= 6.8 + 1e-9 and len(pictures) == 2 * (1 + 2 * count)


@pytest.mark.filterwarnings("error:Glyph")
def test_names_are_text_and_nothing_else(tmp_path):
    path = panel([explanation(HOSTILE)], tmp_path / "panel.svg")
    texts = [node.text or "" for node in ElementTree.parse(path).iter() if node.tag.endswith("text")]
    for words in ("$\\frac$", "<b>&amp;", "two?lines", "?[31mred", "photo.jpg"):
        assert words in texts, texts
    assert any(text.startswith("black and") and text.endswith("… 0.91") for text in texts)
    assert any("99.5th percentile" in text for text in texts)


def test_lines_are_broken_between_words_and_never_begin_with_the_dot():
    from xaibench.report.style import text_width, wrap

    parts = ["a model (weights x, last map 4x4)", "critters: 64 px", "maps without negative values begin at 0", "end"]
    for room in np.arange(1.0, 6.0, 0.1):
        lines = wrap(parts, room, 6)
        assert all(text_width(line, 6) <= room and not line.startswith("\u00a0") for line in lines)
        assert " ".join(lines).replace("\u00a0", " ") == " · ".join(parts)
    assert wrap(["word" * 40], 1.0, 6)[0].endswith("…")


def test_the_explained_class_is_said_where_it_is_not_the_predicted_one(tmp_path):
    seen = explanation(["ixg"], target=Guess(1, "tench", 0.05))
    texts = [n.text or "" for n in ElementTree.parse(panel([seen], tmp_path / "p.svg")).iter() if "text" in n.tag]
    assert "for tench 0.05" in texts
    same = ElementTree.parse(panel([explanation(["ixg"])], tmp_path / "p.svg"))
    assert not any((n.text or "").startswith("for ") for n in same.iter() if "text" in n.tag)


@pytest.mark.process
@pytest.mark.parametrize("style", ["overlay", pytest.param("map", marks=pytest.mark.slow)])
def test_all_kinds_of_files_small_and_the_same_each_time(tmp_path, style):
    for kind in ("png", "svg", "pdf"):
        one, two = (panel([explanation(["ixg", "ig"])], tmp_path / f"{i}.{kind}", style=style) for i in range(2))
        assert one.read_bytes() == two.read_bytes() and 1000 < one.stat().st_size < 300_000
    with Image.open(tmp_path / "0.png") as picture:
        assert (
            picture.info["dpi"][0] == pytest.approx(200, abs=1)
            and picture.convert("RGB").getpixel((1, 1)) == (255,) * 3
        )


@pytest.mark.process
def test_a_large_picture_is_stored_smaller_and_looks_the_same(tmp_path, monkeypatch):
    from xaibench.report import style

    seen = explanation([f"m{i}" for i in range(3)])
    noise = {name: torch.randn(224, 224) for name in seen.maps}
    image = np.random.default_rng(0).integers(0, 255, (224, 224, 3), dtype=np.uint8)
    large = Explanation("p", image, seen.top, seen.target, "m", "d", noise)
    small = panel([large], tmp_path / "small.png")
    monkeypatch.setattr(style, "SMALL_PNG", 10**9)
    exact = panel([large], tmp_path / "exact.png")
    assert small.stat().st_size < 0.8 * exact.stat().st_size
    with Image.open(small) as one, Image.open(exact) as other:
        pixels = np.asarray(one.convert("RGB")).astype(int)
        assert np.abs(pixels - np.asarray(other.convert("RGB"))).max() <= 2
        assert pixels[1, 1].tolist() == [255] * 3 and one.info["dpi"][0] == pytest.approx(200, abs=1)


def test_maps_that_show_nothing_are_named(tmp_path):
    seen = explanation(["a", "b", "c"])
    seen.maps.update(a=torch.zeros(32, 32), b=torch.full((32, 32), 2.0), c=torch.full((32, 32), torch.nan))
    texts = [n.text or "" for n in ElementTree.parse(panel([seen], tmp_path / "p.svg")).iter() if "text" in n.tag]
    assert {"zero", "constant", "not finite"} <= set(texts)


def test_what_cannot_be_drawn_leaves_no_file(tmp_path, monkeypatch):
    with pytest.raises(XaibenchError, match=r"a figure is a .png, .svg or .pdf file"):
        panel([explanation(["ixg"])], tmp_path / "p.jpg")
    with pytest.raises(XaibenchError, match="there is no folder"):
        panel([explanation(["ixg"])], tmp_path / "none" / "p.png")
    with pytest.raises(XaibenchError, match="no map"):
        panel([explanation([])], tmp_path / "p.png")
    (tmp_path / "p.png").write_bytes(b"before")
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(XaibenchError, match="disk is full"):
        panel([explanation(["ixg"])], tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1
