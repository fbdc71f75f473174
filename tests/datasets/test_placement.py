"""Photos, masks and boxes come to lie where torchvision's transforms put them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F
from torchvision.transforms.v2 import functional as F2

from xaibench.cards import Geometry
from xaibench.datasets.placement import Placement

SIZES = st.tuples(st.integers(5, 60), st.integers(5, 60))
GEOMETRIES = st.builds(
    Geometry, resize=st.integers(5, 50), crop=st.integers(4, 40), fit=st.sampled_from(["crop", "stretch"])
)


@st.composite
def boxes_in(draw, size, least=1, fractions=False):
    """A few boxes x0 y0 x1 y1 in a photo of (width, height), of at least so many pixels a side."""
    found = []
    for _ in range(draw(st.integers(1, 4))):
        spans = []
        for length in size:
            low = draw(st.integers(0, length - least))
            spans.append((low, draw(st.integers(low + least, length))))
        found.append([spans[0][0], spans[1][0], spans[0][1], spans[1][1]])
    shift = draw(st.floats(0, 0.9)) if fractions else 0.0
    return np.array(found) + np.array([shift, shift, 0, 0])


def theirs(image: Image.Image, geometry: Geometry, how: InterpolationMode) -> np.ndarray:
    """A PIL image through torchvision's transforms."""
    if geometry.fit == "stretch":
        return np.array(F.resize(image, [geometry.crop, geometry.crop], how))
    return np.array(F.center_crop(F.resize(image, geometry.resize, how), [geometry.crop] * 2))


def rectangle(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask (height, width) filled in a box of whole numbers."""
    mask = np.zeros(size[::-1], dtype=bool)
    x0, y0, x1, y1 = box.astype(int)
    mask[y0:y1, x0:x1] = True
    return mask


@settings(max_examples=80, deadline=None)
@given(SIZES, GEOMETRIES, st.integers(0, 2**32 - 1))
def test_photos_and_masks_are_torchvisions_to_the_pixel(size, geometry, seed):
    random = np.random.default_rng(seed)
    photo = Image.fromarray(random.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    labels = random.integers(0, 256, size[::-1], dtype=np.uint8)
    place = Placement(*size, geometry)
    np.testing.assert_array_equal(place.image(photo), theirs(photo, geometry, InterpolationMode.BILINEAR))
    expected = theirs(Image.fromarray(labels), geometry, InterpolationMode.NEAREST)
    np.testing.assert_array_equal(place.mask(labels), expected)
    for dtype in (np.int32, np.uint16, bool):
        shown = place.mask(labels.astype(dtype))
        assert shown.dtype == dtype
        np.testing.assert_array_equal(shown, expected.astype(dtype))
    np.testing.assert_array_equal(place.masks(np.stack([labels, labels // 2]))[1], expected // 2)


@settings(max_examples=200, deadline=None)
@given(st.data(), SIZES, GEOMETRIES)
def test_boxes_are_torchvisions_up_to_rounding(data, size, geometry):
    boxes = data.draw(boxes_in(size, fractions=True))
    raw = tv_tensors.BoundingBoxes(torch.tensor(boxes), format="XYXY", canvas_size=size[::-1], dtype=torch.float64)
    if geometry.fit == "stretch":
        moved = F2.resize(raw, [geometry.crop, geometry.crop])
    else:
        moved = F2.center_crop(F2.resize(raw, [geometry.resize]), [geometry.crop, geometry.crop])
    place = Placement(*size, geometry)
    found = place.boxes(boxes)
    assert found.dtype == np.int64
    if any((side - geometry.crop) % 2 and side < geometry.crop for side in place.resized):
        return  # where an odd number of rows is padded, torchvision moves boxes by one more than images
    there = (moved[:, 2:] - moved[:, :2] >= 1).all(1).numpy()  # smaller ones grow to a pixel, or are cut off
    np.testing.assert_allclose(found[there], moved.numpy()[there], atol=0.5 + 1e-6)


@settings(max_examples=200, deadline=None)
@given(st.data(), SIZES, GEOMETRIES)
def test_boxes_are_those_of_their_filled_rectangles(data, size, geometry):
    place = Placement(*size, geometry)
    scale = np.array(place.resized) / size
    for box in data.draw(boxes_in(size)):
        shown, (x0, y0, x1, y1) = place.mask(rectangle(box, size)), place.boxes(box[None])[0]
        assert 0 <= x0 <= x1 <= geometry.crop and 0 <= y0 <= y1 <= geometry.crop
        edges = box.reshape(2, 2) * scale
        if (np.abs(edges % 1 - 0.5) < 1e-6).any() or (np.diff(edges, axis=0) < 1).any():
            continue  # an edge in the middle of a pixel may go either way, and less than a pixel may meet no sample
        expected = np.zeros_like(shown)
        expected[y0:y1, x0:x1] = True
        np.testing.assert_array_equal(shown, expected)


@settings(max_examples=200, deadline=None)
@given(st.data(), SIZES, st.integers(4, 40))
def test_no_box_vanishes_when_a_photo_is_stretched(data, size, crop):
    boxes = data.draw(boxes_in(size, fractions=True))
    found = Placement(*size, Geometry(resize=crop, crop=crop, fit="stretch")).boxes(boxes)
    assert (found[:, 2:] > found[:, :2]).all()


@pytest.mark.parametrize(
    ("size", "geometry", "box", "expected"),
    [
        # 8 x 4 to 4 x 2 and padded by a row above and below; a square of 2 in the middle
        ((8, 4), Geometry(resize=2, crop=4), (2, 0, 6, 4), (1, 1, 3, 3)),
        # 8 x 4 to 8 x 4, cut to columns 2 to 5
        ((8, 4), Geometry(resize=4, crop=4), (0, 1, 4, 3), (0, 1, 2, 3)),
        ((8, 4), Geometry(resize=4, crop=4), (6, 0, 8, 4), (4, 0, 4, 4)),  # cut off
        ((8, 4), Geometry(resize=3, crop=4), (0, 0, 8, 4), (0, 0, 4, 3)),  # a row short: it is padded below
        ((8, 4), Geometry(resize=9, crop=4, fit="stretch"), (2, 1, 6, 2), (1, 1, 3, 2)),
        ((40, 4), Geometry(resize=9, crop=4, fit="stretch"), (21, 1, 23, 2), (2, 1, 3, 2)),  # a fifth of a pixel
        ((4, 4), Geometry(resize=4, crop=4), (0, 0, 4, 4), (0, 0, 4, 4)),
        ((4, 4), Geometry(resize=4, crop=4), (1, 1, 1, 3), (1, 1, 1, 3)),  # no pixel before, none after
    ],
)
def test_boxes_computed_by_hand(size, geometry, box, expected):
    assert tuple(Placement(*size, geometry).boxes(np.array([box]))[0]) == expected


def test_masks_computed_by_hand():
    mask = np.zeros((4, 8), dtype=bool)
    mask[:, 2:6] = True
    shown = Placement(8, 4, Geometry(resize=2, crop=4)).mask(mask)
    np.testing.assert_array_equal(shown, [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]])


def test_nothing_stays_nothing():
    place = Placement(8, 4, Geometry(resize=4, crop=4))
    assert place.masks(np.zeros((0, 4, 8), dtype=bool)).shape == (0, 4, 4)
    assert place.boxes(np.zeros((0, 4))).shape == (0, 4)
