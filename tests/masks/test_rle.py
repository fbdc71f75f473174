"""Run lengths: COCO's own reader and writer as an oracle, round trips, and lengths that are no mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from xaibench.masks.rle import decode, digest_of, encode

MASKS = arrays(bool, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9))


def test_runs_go_down_the_columns_and_begin_outside():
    masks = np.zeros((4, 2, 3), dtype=bool)
    masks[1], masks[2, 0, 0], masks[3, :, 1] = True, True, True
    assert encode(masks) == [[6], [0, 6], [0, 1, 5], [2, 2, 2]]
    assert encode(masks[:0]) == [] and decode([], (2, 3)).shape == (0, 2, 3)


@settings(deadline=None)
@given(MASKS)
def test_what_is_encoded_is_decoded(masks):
    counts = encode(masks)
    back = decode(counts, masks.shape[1:])
    assert back.dtype == bool and np.array_equal(back, masks)
    assert all(min(runs[1:], default=1) > 0 and sum(runs) == masks[0].size for runs in counts)


@settings(deadline=None)
@given(MASKS)
def test_pycocotools_reads_them_and_writes_the_same(masks):
    coco = pytest.importorskip("pycocotools.mask")
    height, width = masks.shape[1:]
    for mask, runs in zip(masks, encode(masks), strict=True):
        packed = coco.frPyObjects({"counts": runs, "size": [height, width]}, height, width)
        assert np.array_equal(coco.decode(packed).astype(bool), mask)
        assert packed == coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert coco.area(packed) == sum(runs[1::2])


@pytest.mark.parametrize("counts", [[5], [3, 4], [7, -1], [], [2, 2, 2, 2]])
def test_lengths_that_do_not_fill_the_image_are_no_mask(counts):
    with pytest.raises(ValueError, match="no mask of 2 x 3"):
        decode([[6], counts], (2, 3))


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=4))
def test_the_digest_tells_run_lengths_apart(counts):
    assert digest_of(counts) == digest_of([list(runs) for runs in counts])
    assert digest_of(counts) != digest_of([*counts, [6]]) != digest_of([*counts, [6], []])
