from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from xaibench.analysis.breakdown import COLUMNS as GROUPED
from xaibench.analysis.breakdown import Breakdown
from xaibench.analysis.leaderboard import COLUMNS, Leaderboard
from xaibench.errors import XaibenchError
from xaibench.report.board_figure import board_figure, breakdown_figure


@pytest.fixture
def board() -> Leaderboard:
    count = 24
    mean = np.linspace(0.7, 0.01, count)
    names = [f"method-{index}" for index in range(count - 1)] + ["a $b$ _c^ very long name of a plug-in of somebody"]
    table = pd.DataFrame({
        "rank": pd.array([*range(1, count), None], dtype="Int64"), "method": names, "mean": mean, "ci_low": mean - 0.04,
        "ci_high": mean + 0.04, "n_images": 50, "n_undefined": 0, "rank_low": pd.array([1] * count, dtype="Int64"),
        "rank_high": pd.array([2] * count, dtype="Int64"), "group": ["ab"] * (count - 1) + [""], "coverage": 1.0,
        "kind": ["method"] * (count - 1) + ["control"],
    })  # fmt: skip
    context = {"protocol": {"name": "idsds"}, "model": {"label": "a model of many words " * 5}}
    return Leaderboard(table[list(COLUMNS)], "ab", context, "idsds", True, 50, 0, 0.0, {"correct": 48, "images": 50})


def test_svg_names_every_method_and_says_n_and_accuracy(board, tmp_path):
    path = board_figure(board, tmp_path / "board.svg")
    texts = [node.text or "" for node in ElementTree.parse(path).iter() if node.tag.endswith("text")]
    assert [name for name in board.table["method"][:-1] if name not in texts] == []
    assert any(text.startswith("a $b$ _c^ very") and text.endswith("(control)") for text in texts)
    assert any("n = 50 images" in text and "accuracy 96.0%" in text for text in texts)
    assert any("higher is better" in text for text in texts)
    assert texts.count("ab") == 23 and any("share a letter" in text for text in texts)
    assert sum("a model of many words" in text for text in texts) >= 2, "a long title is wrapped"


def test_no_text_leaves_the_page_or_covers_another(board, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    kept = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **more: (kept.append(self), save(self, *args, **more)))
    board_figure(board, tmp_path / "board.png")
    (figure,) = kept
    figure.draw_without_rendering()  # saving leaves extents at its own resolution
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in [*figure.texts, *axes.get_yticklabels(), axes.xaxis.label]]
    page = figure.bbox
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= page.x1 and box.y1 <= page.y1 for box in boxes)
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_png_is_small_and_the_same_each_time(board, tmp_path):
    first, second = (board_figure(board, tmp_path / name) for name in ("1.png", "2.png"))
    assert first.stat().st_size < 300_000
    assert matplotlib.image.imread(first).shape[1] > 1000
    assert first.read_bytes() == second.read_bytes()
    assert board_figure(board, tmp_path / "1.svg").read_bytes() == board_figure(board, tmp_path / "2.svg").read_bytes()


def test_no_pyplot_state_is_left(board, tmp_path):
    before = dict(matplotlib.rcParams)
    board_figure(board, tmp_path / "board.png")
    assert dict(matplotlib.rcParams) == before


def test_what_cannot_be_drawn(board, tmp_path):
    with pytest.raises(XaibenchError, match=r"a figure is a .png or .svg"):
        board_figure(board, tmp_path / "board.jpg")
    with pytest.raises(XaibenchError, match="cannot write"):
        board_figure(board, tmp_path / "none" / "board.png")
    board.table["mean"] = np.nan
    with pytest.raises(XaibenchError, match="nothing to draw"):
        board_figure(board, tmp_path / "board.png")


@pytest.fixture
def groups(board):
    """A breakdown of the board's methods into two groups, the second without an image of one method."""
    names = ["all", "correct", "a $b$ class with a name that is much longer than the room that there is"]
    parts = []
    for number, name in enumerate(names):
        part = board.table[["method", "mean", "ci_low", "ci_high", "n_images", "n_undefined", "kind"]].head(9).copy()
        part[["mean", "ci_low", "ci_high"]] -= 0.01 * number
        parts.append(part.assign(group=name))
    table = pd.concat(parts, ignore_index=True)
    table.loc[26, ["mean", "ci_low", "ci_high"]] = np.nan
    sizes = pd.DataFrame({"group": names, "n_images": [50, 30, 20], "n_pairs": [60, 35, 25], "n_reference": 0,
                          "accuracy": 1.0})  # fmt: skip
    return Breakdown("class", sizes, table[list(GROUPED)], board, ())


def test_groups_stand_side_by_side_in_their_colours(groups, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    kept = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **more: (kept.append(self), save(self, *args, **more)))
    breakdown_figure(groups, tmp_path / "groups.svg")
    (figure,) = kept
    figure.draw_without_rendering()
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in dots] == [9, 9, 8]
    assert len({line.get_color() for line in dots}) == 3
    for number, line in enumerate(dots):
        own = groups.table[groups.table["group"] == groups.groups["group"][number]]["mean"].dropna()
        assert list(line.get_xdata()) == pytest.approx(own.tolist())
        assert [round(y) for y in line.get_ydata()] == list(range(8, 8 - len(own), -1)), "within its method's lane"
    texts = [text.get_text() for text in figure.texts]
    said = " ".join(" ".join(texts).split())
    assert "\u25cf correct (n = 30)" in texts and "each explained class counts once" in said
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in [*figure.texts, *axes.get_yticklabels(), axes.xaxis.label]]
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_more_groups_than_colours(groups, tmp_path):
    many = pd.DataFrame({"group": [f"g{n}" for n in range(8)], "n_images": 1, "n_pairs": 1, "accuracy": 1.0})
    table = pd.concat([groups.table.head(1).assign(group=name) for name in many["group"]])
    with pytest.raises(XaibenchError, match="room for 6 groups, not 7; choose some by --class"):
        breakdown_figure(replace(groups, groups=many, table=table), tmp_path / "x.png")
