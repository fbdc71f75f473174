"""Galleries: what stands in each line, that nothing overlaps, that names cannot break them."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from xaibench.errors import XaibenchError
from xaibench.report.gallery import Entry, Gallery, draw_gallery

HOSTILE = ["$\\frac$", "<b>x</b>", "two\nlines", "\x1b[31mred"]


def gallery(methods: list[str], sizes=(2, 1, 2), grid: int = 4, **fields) -> Gallery:
    random = np.random.default_rng(0)

    def entry(number: int) -> Entry:
        maps = {name: random.normal(size=(16, 16)) for name in methods}
        scores = {name: None if i == 1 else -0.12345 * i for i, name in enumerate(methods)}
        image = random.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        right = (True, False, None)[number % 3]
        return Entry(image, "a label of many words $x$", "<i>tench</i>", right, maps, scores, f"val/n01/{number}.png")

    groups = {n: [entry(i) for i in range(s)] for n, s in zip(("best", "typical", "worst"), sizes, strict=True)}
    given = {"title": "sds (grid 4) · a model · " + "words " * 30, "metric": "spearman", "higher_is_better": True}
    return Gallery(groups=groups, methods=methods, grid=grid, total=24, **(given | fields))


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, *(pytest.param(n, marks=pytest.mark.process) for n in (4, 8))])
def test_no_text_leaves_the_page_or_covers_another(tmp_path, monkeypatch, count, assert_clean):
    from matplotlib.figure import Figure

    kept, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **more: (kept.append(self), save(self, *args, **more)))
    draw_gallery(gallery([*HOSTILE, "a-method-of-a-long-name", "b", "c", "d"][:count]), tmp_path / "g.png")
    (figure,) = kept
    assert_clean(figure)
    pictures = [axes for axes in figure.axes if axes.images]
    assert len(pictures) == 5 * (1 + count)
    assert all(len(axes.lines) == 2 * 3 for axes in pictures), "three lines each way part four cells"
    assert sorted(line.get_ydata()[0] for line in pictures[0].lines[::2]) == [3.5, 7.5, 11.5]


def test_words_scores_and_marks(tmp_path):
    path = draw_gallery(gallery([*HOSTILE[:3]]), tmp_path / "g.svg")
    texts = [node.text or "" for node in ElementTree.parse(path).iter() if node.tag.endswith("text")]
    headings = ("Best: highest mean score", "Typical: around the median", "Worst: lowest mean score")
    for words in ("$\\frac$", "<b>x</b>", "two?lines", "undefined", "\u22120.247", "0.000", "<i>tench</i> \u2713",
                  "<i>tench</i> \u2717", *(f"{heading} of 24 images" for heading in headings)):  # fmt: skip
        assert words in texts, (words, texts)
    assert any("spearman (higher is better)" in text for text in texts)
    lower = draw_gallery(gallery(["a"], higher_is_better=False), tmp_path / "g.svg").read_text()
    assert "Best: lowest mean score" in lower and "lower is better" in lower


def test_without_a_grid_there_are_no_lines_and_empty_groups_are_left_out(tmp_path):
    path = draw_gallery(gallery(["a"], sizes=(1, 0, 1), grid=0), tmp_path / "g.svg")
    assert "Typical" not in path.read_text()
    assert path.read_bytes() == draw_gallery(gallery(["a"], sizes=(1, 0, 1), grid=0), tmp_path / "h.svg").read_bytes()


def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(XaibenchError, match=r"name at most 8 by --methods"):
        draw_gallery(gallery([str(i) for i in range(9)]), tmp_path / "g.png")
    with pytest.raises(XaibenchError, match=r"a figure is a .png"):
        draw_gallery(gallery(["a"]), tmp_path / "g.gif")
    with pytest.raises(XaibenchError, match="cannot write"):
        draw_gallery(gallery(["a"]), tmp_path / "none" / "g.png")
    assert not list(tmp_path.iterdir())
