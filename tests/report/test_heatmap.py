"""Heat maps: their colours against matplotlib's own palette, their limits, and maps that show nothing."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from xaibench.report.heatmap import FAINT, NOT_FINITE, PERCENTILE, Scale, colour_bar, faint, heatmap, number, scale_of

SIGNED = np.array([[-2.0, -1.0, 0.0, 1.0], [2.0, 0.0, 0.0, 0.0], [0.5, 0.0, -0.5, 0.0], [0.0, 0.0, 0.0, 0.0]])


def palette(position: float) -> np.ndarray:
    return np.rint(np.array(matplotlib.colormaps["RdBu_r"](position)[:3]) * 255).astype(np.uint8)


def test_a_signed_map_is_drawn_in_the_diverging_palette_centred_at_zero():
    pixels = heatmap(SIGNED, Scale(2.0, True))
    assert pixels[0, 0].tolist() == palette(0.0).tolist()
    assert pixels[1, 0].tolist() == palette(1.0).tolist()
    assert pixels[0, 2].tolist() == palette(0.5).tolist()
    assert pixels[0, 1].tolist() == palette(0.25).tolist() and pixels[0, 3].tolist() == palette(0.75).tolist()
    blue, red = pixels[0, 0].astype(int), pixels[1, 0].astype(int)
    assert blue[2] > blue[0] and red[0] > red[2]


def test_a_map_without_negative_values_runs_from_the_palettes_white_to_its_red():
    values = np.abs(SIGNED)
    scale = scale_of(values)
    assert not scale.signed and scale.norm.vmin == 0
    pixels = heatmap(values, Scale(2.0, False))
    assert np.abs(pixels[0, 2].astype(int) - palette(0.5)).max() <= 2
    assert pixels[1, 0].tolist() == palette(1.0).tolist()
    assert np.abs(pixels[0, 1].astype(int) - palette(0.75)).max() <= 2


def test_limits_are_symmetric_and_one_pixel_does_not_hide_the_rest():
    values = np.random.default_rng(0).normal(size=(40, 50))
    values[3, 4] = 1e6
    scale = scale_of(values)
    assert (scale.norm.vmin, scale.norm.vmax) == (-scale.limit, scale.limit)
    assert scale.limit == pytest.approx(np.percentile(np.abs(values), PERCENTILE)) and scale.limit < 5
    assert scale.extend == "both" and scale_of(-np.abs(values)).extend == "min"
    assert scale_of(np.abs(values)).extend == "max" and scale_of(np.where(values < 3, values, 3)).note == ""
    assert heatmap(values, scale)[3, 4].tolist() == palette(1.0).tolist()


def test_a_map_of_one_pixel_has_that_pixel_as_its_limit():
    values = np.zeros((50, 50))
    values[7, 8] = -3
    assert scale_of(values) == Scale(3.0, True)


def test_the_faint_photo_shows_where_the_map_is_zero_and_not_where_it_is_strong():
    photo = np.zeros((4, 4, 3), dtype=np.uint8)
    photo[0] = 255
    pixels = heatmap(SIGNED, Scale(2.0, True), photo)
    assert pixels[0, 2].tolist() == palette(0.5).tolist(), "white paper below"
    assert pixels[3, 3].tolist() == pytest.approx((palette(0.5) * (1 - FAINT)).tolist(), abs=1), "black photo below"
    assert pixels[1, 0].tolist() == palette(1.0).tolist()
    assert faint(photo).min() == pytest.approx(1 - FAINT) and faint(photo).max() == 1
    grey = np.ptp(heatmap(np.zeros((4, 4)), Scale(1.0, False), photo)[..., :3].astype(int), axis=-1)
    assert grey.max() <= 2, "a colourful photo must not be taken for a map"


@pytest.mark.parametrize(
    ("values", "word"),
    [(np.zeros((4, 4)), "zero"), (np.full((4, 4), -3.0), "constant"), (np.full((4, 4), np.nan), "not finite"),
     (np.where(SIGNED == 2, np.inf, SIGNED), "not finite"), (SIGNED, "")],
)  # fmt: skip
def test_maps_that_show_nothing_are_drawn_and_named(values, word):
    scale = scale_of(values)
    assert scale.note == word and np.isfinite(scale.limit) and scale.limit > 0
    pixels = heatmap(values, scale, np.zeros((4, 4, 3), dtype=np.uint8))
    assert pixels.shape == (4, 4, 3) and pixels.dtype == np.uint8
    assert (pixels[~np.isfinite(values)] == round(NOT_FINITE * 255)).all()


def test_a_photo_of_another_size_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        heatmap(SIGNED, Scale(2.0, True), np.zeros((5, 4, 3), dtype=np.uint8))


@pytest.mark.parametrize("signed", [True, False])
def test_the_colour_bar_is_that_of_the_map(signed):
    figure = Figure()
    axes = figure.add_axes((0.1, 0.5, 0.8, 0.02))
    scale = Scale(0.25, signed, "max")
    colour_bar(axes, scale)
    figure.draw_without_rendering()
    low = -0.25 if signed else 0.0
    assert axes.get_xlim() == (low, 0.25)
    assert [t.get_text() for t in axes.get_xticklabels()] == (["\u22120.25"] if signed else []) + ["0", "0.25"]
    ramp = np.linspace(low, 0.25, 9)[None]
    bar = np.rint(scale.palette(scale.norm(ramp))[..., :3] * 255).astype(np.uint8)
    assert np.array_equal(bar, heatmap(ramp, scale))


def test_numbers_are_short():
    assert [number(v) for v in (-0.01347, 3.14e-5, 9999.6, 12345678)] == [
        "\u22120.013",
        "3.1e\u22125",
        "1.0e4",
        "1.2e7",
    ]
