"""Drawings: what stands where, by hand-computed cases, and names that do not cover each other."""

from __future__ import annotations

import math
import re

import pytest

from xaibench.site.plot import LETTER, NAME, Point, plot
from xaibench.site.svg import BAR, Axis, Item, bar, panel, panel_axis
from xaibench.site.words import listed

TEXTS = re.compile(r'<text class="(left|right)" x="([-\d.]+)" y="([-\d.]+)">(\w[^<]*)</text></a>')


def test_an_axis_maps_its_ends_and_clips_what_lies_beyond():
    axis = Axis(0.0, 2.0, 10.0, 110.0, ())
    assert [axis.x(value) for value in (0, 1, 2, -5, 9)] == [10, 60, 110, 10, 110]


@pytest.mark.parametrize("values", [[], [math.nan], [0.5], [0.0], [-3.0, 7.0], [1e-9, 2e-9], [1e6, 1e6 + 1]])
def test_an_axis_holds_every_finite_value_and_its_ticks_are_inside(values):
    axis = Axis.of(values, 0, 100)
    assert axis.low < axis.high and all(axis.low <= tick <= axis.high for tick in axis.ticks)
    assert all(axis.low < value < axis.high for value in values if math.isfinite(value))


def test_a_bar_draws_mean_and_interval_where_they_are():
    axis = Axis(0.0, 1.0, 0.0, float(BAR), ())
    drawn = bar(axis, 0.2, 0.4, 0.8, "lead")
    assert f"M{0.2 * BAR:.1f} 9H{0.8 * BAR:.1f}" in drawn and f'cx="{0.4 * BAR:.1f}"' in drawn and "bar lead" in drawn
    assert "range" not in bar(axis, math.nan, 0.4, math.nan, "rest") and bar(axis, 0, math.nan, 1, "rest") == ""


def test_names_of_others_are_text_in_drawings():
    hostile = '"><script>alert(1)</script>'
    item = Item(hostile, 0.5, 0.4, 0.6, link="a.html", text=hostile)
    drawn = panel([item], panel_axis([0.4, 0.6], texts=True), hostile)
    drawn += plot([Point(hostile, 1, 2, 1, 3)], (hostile, hostile), hostile)
    assert "<script" not in drawn and drawn.count("&lt;script") >= 6


def test_a_long_name_is_short_in_a_plot_and_whole_for_who_points_at_it():
    name = "resnet18 (training seed 4, another loss, another optimizer)"
    drawn = plot([Point(name, 1, 2, 1, 3, link="x")], ("a", "b"), "t")
    assert f"resnet18 (t…imizer)<title>{name}</title></text>" in drawn


def test_no_name_of_a_plot_covers_another_and_names_stay_beside_their_points():
    points = [
        Point(f"name-{i}", i % 3, (0, 0.01, 0.02, 0.02, 1)[i // 3], math.nan, math.nan, link="x") for i in range(15)
    ]
    found = [(side, float(x), float(y), text) for side, x, y, text in TEXTS.findall(plot(points, ("a", "b"), "t"))]
    boxes = [(x - LETTER * len(t) if s == "left" else x, x if s == "left" else x + LETTER * len(t), y)
             for s, x, y, t in found]  # fmt: skip
    assert len(boxes) == 15
    for i, (start, end, y) in enumerate(boxes):
        for other, last, height in boxes[:i]:
            assert end <= other or last <= start or abs(y - height) >= NAME - 0.2
    drawn = plot(points, ("a", "b"), "t")
    circles = [float(y) for y in re.findall(r'cy="([\d.]+)" r="4"', drawn)]
    moved = sum(y - 4 - own > NAME / 2 for (*_, y), own in zip(boxes, circles, strict=True))
    assert moved and drawn.count("lead-line") == moved  # a line leads to each name that was moved
    assert max(y for *_, y in boxes) <= float(re.search(r'viewBox="0 0 340 ([\d.]+)"', drawn)[1])
    alone = plot([Point("far", 0, 0, 0, 0, link="x"), Point("away", 1, 1, 1, 1, link="x")], ("a", "b"), "t")
    circles = re.findall(r'cy="([\d.]+)" r="4"', alone)
    assert [float(y) - 4 for _, _, y, _ in TEXTS.findall(alone)] == pytest.approx([float(y) for y in circles])


def test_lists_of_names():
    assert listed(["a"]) == "a" and listed(["a", "b"]) == "a and b" and listed(list("abcde")) == "a, b, c, d and e"
    assert listed(list("abcdefg")) == "a, b, c, d and 3 more" and listed(list("abcdefg"), most=None).endswith("f and g")
