"""What guides a model: nested subsets, boxes and masks by hand, dilation on each side, one class per step."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from xaibench.datasets.base import Annotation
from xaibench.datasets.critters import Critters
from xaibench.errors import XaibenchError
from xaibench.training.guidance.targets import Annotations, class_boxes, sample_label

IDS = [f"photo {number}" for number in range(1000)]


def annotation(*boxes: tuple[int, ...], labels=(), instances=None, masks=None) -> Annotation:
    """Of an image of 10 rows and 12 columns."""
    nothing = np.zeros((0, 10, 12), dtype=bool)
    return Annotation(
        labels=(3, 5), boxes=np.array(boxes, dtype=np.int64).reshape(-1, 4),
        box_labels=np.array(labels, dtype=np.int64),
        instances=nothing if instances is None else instances, masks=masks or {},
    )  # fmt: skip


class Photos:
    """A data set of one annotation, of all its images."""

    name, knows, ids = "photos", frozenset({"boxes", "masks"}), IDS

    def __init__(self, found: Annotation):
        self.found = found

    def annotate(self, image_id: str) -> Annotation:
        return self.found


def filled(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((10, 12), dtype=bool)
    for x0, y0, x1, y1 in boxes:
        for y in range(y0, y1):
            for x in range(x0, x1):
                mask[y, x] = True
    return mask


# Which images --------------------------------------------------------------------------------------------------------


def test_subsets_are_nested_and_of_the_asked_size():
    found = [Annotations(fraction=fraction, seed=4).annotated(IDS) for fraction in (0.01, 0.09, 0.1, 0.5, 1)]
    assert [len(ids) for ids in found] == [10, 90, 100, 500, 1000]
    assert all(few < many for few, many in pairwise(found))
    other = Annotations(fraction=0.1, seed=5).annotated(IDS)
    assert len(other & found[2]) < 30, "10 of 100 are expected by chance"


def test_subsets_depend_on_neither_order_nor_kind():
    found = Annotations(fraction=0.1).annotated(IDS)
    assert Annotations("masks", fraction=0.1).annotated(reversed(IDS)) == found
    assert len(Annotations(fraction=0.01).annotated(IDS[:5])) == 1, "at least one"


def test_facts_are_all_that_matters():
    assert Annotations(fraction=0.1, dilate=0.25, seed=2).key_fields == {
        "kind": "boxes", "fraction": 0.1, "dilate": 0.25, "seed": 2,
    }  # fmt: skip
    assert Annotations("mixture").key_fields["share_masks"] == 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "box"}, "kind is boxes or masks or mixture, not 'box'"),
        ({"fraction": 0.0}, "train without guidance"),
        ({"fraction": 10.0}, "fraction is a number from 0 to 1, not 10.0"),
        ({"dilate": -0.1}, "dilate is a number from 0 to 10, not -0.1"),
        ({"share_masks": 2.0}, "share_masks is a number from 0 to 1, not 2.0"),
        ({"kind": "masks", "dilate": 0.1}, "dilate is for boxes"),
    ],
)
def test_settings_that_are_none(settings, message):
    with pytest.raises(XaibenchError, match=message):
        Annotations(**settings)


def test_data_that_cannot_guide():
    photos = Photos(annotation())
    Annotations("mixture").check(photos)
    photos.knows = frozenset({"boxes"})
    Annotations().check(photos)
    for kind in ("masks", "mixture"):
        with pytest.raises(XaibenchError, match="data set photos has no masks to guide a model by"):
            Annotations(kind).check(photos)


# Where ---------------------------------------------------------------------------------------------------------------


def test_boxes_of_the_class_up_to_the_last_row_and_column():
    photos = Photos(annotation((1, 2, 4, 5), (3, 4, 12, 10), (0, 0, 12, 10), labels=(3, 3, 5)))
    assert np.array_equal(Annotations().mask(photos, "photo 1", 3), filled((1, 2, 4, 5), (3, 4, 12, 10)))
    assert Annotations().mask(photos, "photo 1", 5).all()
    assert Annotations().mask(photos, "photo 1", 0) is None


@pytest.mark.parametrize(
    ("box", "dilate", "grown"),
    [
        ((4, 3, 8, 5), 0.5, (2, 2, 10, 6)),  # 2 of its 4 columns on each side, 1 of its 2 rows
        ((4, 3, 8, 5), 0.25, (3, 2, 9, 6)),  # half a row is rounded up
        ((4, 3, 8, 5), 0.1, (4, 3, 8, 5)),
        ((1, 0, 9, 10), 0.25, (0, 0, 11, 10)),  # cut off at the image
        ((11, 9, 12, 10), 1.0, (10, 8, 12, 10)),
    ],
)
def test_dilation_by_hand(box, dilate, grown):
    assert np.array_equal(class_boxes(annotation(box, labels=(3,)), 3, dilate), filled(grown))


def test_a_box_without_a_pixel_guides_nothing():
    assert class_boxes(annotation((12, 3, 12, 8), labels=(3,)), 3, 0.5) is None


def test_masks_are_of_instances_or_of_classes():
    one, two, rest = filled((0, 0, 2, 2)), filled((5, 5, 6, 9)), filled((8, 8, 9, 9))
    boxes, labels = [(0, 0, 2, 2), (5, 5, 6, 9), (8, 8, 9, 9)], (3, 3, 5)
    by_instance = Photos(annotation(*boxes, labels=labels, instances=np.stack([one, two, rest])))
    by_class = Photos(annotation(*boxes, labels=labels, masks={3: one | two, 5: rest}))
    for photos in (by_instance, by_class):
        assert np.array_equal(Annotations("masks").mask(photos, "photo 1", 3), one | two)
        assert np.array_equal(Annotations("masks").mask(photos, "photo 1", 5), rest)
        assert Annotations("masks").mask(photos, "photo 1", 0) is None


def test_a_mixture_has_masks_of_its_share():
    dot = filled((6, 6, 7, 7))
    photos = Photos(annotation((5, 5, 8, 8), labels=(3,), masks={3: dot}))
    few, many = (
        {i for i in IDS if Annotations("mixture", share_masks=share).mask(photos, i, 3).sum() == 1}
        for share in (0.1, 0.5)
    )
    assert 70 < len(few) < 130 and 440 < len(many) < 560 and few < many
    whole = Annotations("mixture", share_masks=1.0, dilate=1.0)
    assert all(whole.mask(photos, i, 3).sum() == 1 for i in IDS)
    without = Photos(annotation((5, 5, 8, 8), labels=(3,)))
    assert np.array_equal(whole.mask(without, "photo 1", 3), filled((2, 2, 11, 10))), "no mask: its box"
    assert Annotations("masks").mask(without, "photo 1", 3) is None


def test_masks_lie_in_the_boxes_of_drawn_images():
    data = Critters("train", 6, 64)
    for image_id in data.ids:
        label = data.label(image_id)
        box, mask = (Annotations(kind).mask(data, image_id, label) for kind in ("boxes", "masks"))
        assert box.shape == mask.shape == (64, 64) and box.dtype == mask.dtype == bool
        assert mask.any() and not (mask & ~box).any() and mask.sum() < box.sum()
        grown = Annotations(dilate=0.25).mask(data, image_id, label)
        assert not (box & ~grown).any() and grown.sum() > box.sum()


# Which class ---------------------------------------------------------------------------------------------------------


def test_each_class_of_an_image_is_drawn_about_as_often():
    drawn = Counter(sample_label((2, 5, 7), 0, "photo 1", epoch) for epoch in range(900))
    assert sorted(drawn) == [2, 5, 7] and min(drawn.values()) > 250
    assert [sample_label((2, 5, 7), 0, i, 3) for i in IDS] == [sample_label((2, 5, 7), 0, i, 3) for i in IDS]
    assert len({tuple(sample_label((2, 5, 7), seed, i, 3) for i in IDS) for seed in range(3)}) == 3
    assert sample_label(np.array([4]), 0, "photo 1", 0) == 4
    with pytest.raises(XaibenchError, match="photo 1 has no class"):
        sample_label((), 0, "photo 1", 0)
