"""CUB-200-2011: splits, boxes and masks of a miniature, and what is wrong with a folder in one line."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from xaibench import registry
from xaibench.cards import Geometry
from xaibench.datasets.cub import CUB
from xaibench.datasets.open import open_dataset
from xaibench.datasets.reading import in_split
from xaibench.errors import XaibenchError

GEOMETRY = Geometry(resize=32, crop=24)
SAME = Geometry(resize=1, crop=1)


def names(cub, numbers):
    lines = dict(line.split() for line in (cub / "images.txt").read_text().splitlines())
    return [lines[str(n)] for n in numbers]


def test_splits_and_classes_are_the_published_ones(cub):
    test, both = CUB(cub, GEOMETRY), CUB(cub.parent, GEOMETRY, "trainval")
    assert list(test.ids) == names(cub, (3, 4, 7, 8, 11, 12))
    assert list(both.ids) == names(cub, (1, 2, 5, 6, 9, 10)), "root may be the folder above"
    assert [test.label(i) for i in test.ids] == [0, 0, 1, 1, 2, 2]
    assert list(test.classes) == ["Black footed Albatross", "Laysan Albatross", "Scissor tailed Flycatcher"]


def test_train_and_val_part_the_training_images(cub, monkeypatch):
    monkeypatch.setattr("xaibench.datasets.reading.HELD_OUT", 2)
    train, val = (set(CUB(cub, GEOMETRY, split).ids) for split in ("train", "val"))
    assert train and val and not train & val
    assert train | val == set(CUB(cub, GEOMETRY, "trainval").ids)


def test_a_tenth_of_the_ids_validates():
    ids = [f"photo {n}" for n in range(5000)]
    held_out = [i for i in ids if in_split(i, "val")]
    assert 420 < len(held_out) < 580
    assert all(in_split(i, "trainval") and in_split(i, "train") != in_split(i, "val") for i in ids)


def test_photos_masks_and_boxes_are_placed_as_torchvision_does(cub, theirs):
    data = CUB(cub, GEOMETRY)
    for image_id, number in zip(data.ids, (3, 4, 7, 8, 11, 12), strict=True):
        known, sample = data.annotate(image_id), data.load(image_id)
        photo = np.array(Image.open(cub / "images" / image_id).convert("RGB"))
        np.testing.assert_array_equal(sample.image, theirs(photo, 32, 24))
        mask = np.zeros(photo.shape[:2], dtype=bool)
        mask[5:21, 10 + number : 30 + number] = True
        np.testing.assert_array_equal(known.instances[0], theirs(mask, 32, 24))
        assert known.instances is known.objects["annotated"] and known.box_labels.tolist() == [sample.label]
        x0, y0, x1, y1 = known.boxes[0]
        filled = np.zeros_like(known.instances[0])
        filled[y0:y1, x0:x1] = True
        border = np.pad(filled, 1)
        near = border[:-2, 1:-1] | border[2:, 1:-1] | border[1:-1, :-2] | border[1:-1, 2:] | filled
        assert not (known.instances[0] & ~near).any() and (known.instances[0] & filled).sum() > 0.85 * filled.sum()


def test_half_of_the_annotators_make_a_pixel_the_birds(cub):
    path = (cub / "segmentations" / names(cub, [3])[0]).with_suffix(".png")
    grey = np.zeros((42, 58), np.uint8)
    grey[10, :] = np.linspace(0, 255, 58)
    for mode in ("L", "LA", "RGB"):
        Image.fromarray(grey).convert(mode).save(path)
        bird = CUB(cub, GEOMETRY).birds.mask(names(cub, [3])[0], (58, 42))
        np.testing.assert_array_equal(bird, grey >= 128)


def test_without_segmentations_there_are_boxes_and_no_masks(cub):
    (cub / "segmentations").rename(cub / "elsewhere")
    data = CUB(cub, GEOMETRY)
    known = data.annotate(data.ids[0])
    assert known.boxes.shape == (1, 4) and known.instances.shape == (0, 24, 24) and not known.masks
    assert [p.count for p in data.pieces() if p.optional] == [None]
    (cub / "elsewhere").rename(cub.parent / "segmentations")
    beside = CUB(cub, GEOMETRY)
    assert len(beside.annotate(data.ids[0]).instances) == 1, "the archive unpacks them beside CUB_200_2011"
    assert {p.what: p.count for p in beside.pieces()} == {"photos": 6, "CUB's boxes": 12, "CUB's masks": 12}


def test_digests_notice_a_changed_box_or_mask(cub):
    image_id = names(cub, [3])[0]
    before = CUB(cub, GEOMETRY).digest(image_id)
    assert before == CUB(cub, GEOMETRY).load(image_id).digest
    boxes = cub / "bounding_boxes.txt"
    boxes.write_text(boxes.read_text().replace("3 13.0", "3 12.0"))
    after = CUB(cub, GEOMETRY).digest(image_id)
    Image.new("L", (58, 42), 255).save((cub / "segmentations" / image_id).with_suffix(".png"))
    assert len({before, after, CUB(cub, GEOMETRY).digest(image_id)}) == 3


def test_the_card_opens_it_and_any_class_can_be_marked(cub):
    card = registry.card("dataset", "cub")
    data = open_dataset(card, cub, {"split": "trainval", "red_dot": "Laysan Albatross"})
    red = {i for i in data.ids if (data.load(i).image == (255, 0, 0)).all(2).sum() > 300}
    assert red == set(names(cub, (5, 6)))


def replace(file, old, new):
    def spoil(cub):
        path = cub / file
        assert re.search(old, path.read_text(), re.M)
        path.write_text(re.sub(old, new, path.read_text(), count=1, flags=re.M))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda cub: (cub / "classes.txt").unlink(), r"classes.txt cannot be read: No such file"),
        (lambda cub: (cub / "images.txt").unlink(), r"has no images.txt, nor CUB_200_2011/images.txt; pass the folder"),
        (replace("images.txt", "^2 ", "1 "), r"images.txt:2: image id 1 is listed twice"),
        (replace("images.txt", "0002.jpg", "0001.jpg"), r"images.txt lists 1 file names more than once"),
        (replace("images.txt", "^2 .*$", "2"), r"images.txt:2: 1 columns, not 2: image id, file name"),
        (replace("image_class_labels.txt", "^4 .*$", "4 7"), r"labels.txt: image 4 has class 7, not one of"),
        (replace("image_class_labels.txt", "^4 .*\n", ""), r"labels.txt: image 4, which images.txt lists, is missing"),
        (replace("bounding_boxes.txt", "^12 ", "13 "), r"boxes.txt: image 1[23], which images.txt"),
        (replace("train_test_split.txt", "^3 0", "3 2"), r"split.txt: the column of image 3 is '2', not 0 or 1"),
        (replace("train_test_split.txt", "(?s).+", ""), r"train_test_split.txt is empty; restore it"),
        (lambda cub: next((cub / "images").rglob("*_0004.jpg")).unlink(), r"images.txt lists 1 of 6 .*_0004.jpg"),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_line(spoil, message, cub):
    spoil(cub)
    with pytest.raises(XaibenchError, match=message) as caught:
        CUB(cub, GEOMETRY)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (replace("bounding_boxes.txt", "^3 .*$", "3 13.0 5.0 x 16.0"), r"the box of .*0003.jpg is 13.0 5.0 x 16"),
        (replace("bounding_boxes.txt", "^3 .*$", "3 13.0 5.0 0.0 16.0"), r"the box of .*0003.jpg: .* has no pixel"),
        (replace("bounding_boxes.txt", "^3 .*$", "3 100 5.0 9.0 16.0"), r"0003.jpg.* its photo of 58 x 42 pixels"),
        (replace("bounding_boxes.txt", "^3 .*$", "3 50 5.0 20.0 16.0"), r"0003.jpg.* beyond its photo of 58 x 42"),
        (replace("bounding_boxes.txt", "^3 .*$", "3 nan 5.0 20.0 16.0"), r"0003.jpg is nan .*, not four numbers"),
        (
            lambda cub: Image.new("L", (42, 58)).save(next((cub / "segmentations").rglob("*_0003.png"))),
            r"_0003.png is 42 x 58 pixels, its photo 58 x 42",
        ),
        (lambda cub: next((cub / "segmentations").rglob("*_0003.png")).unlink(), r"_0003.png cannot be read"),
        (lambda cub: next((cub / "segmentations").rglob("*_0003.png")).write_text("x"), r"_0003.png cannot be read"),
    ],
)
def test_what_is_wrong_with_an_annotation_is_one_line(spoil, message, cub):
    spoil(cub)
    data = CUB(cub, GEOMETRY)
    with pytest.raises(XaibenchError, match=message) as caught:
        data.annotate(names(cub, [3])[0])
    assert "\n" not in str(caught.value)
    assert data.annotate(names(cub, [4])[0]).boxes.any()


def test_options_and_ids_that_are_not_there(cub):
    with pytest.raises(XaibenchError, match=r"cub: split 'tets' is unknown; did you mean test\?"):
        CUB(cub, GEOMETRY, "tets")
    with pytest.raises(XaibenchError, match=r"has no photo '../images.txt' in this split"):
        CUB(cub, GEOMETRY).load("../images.txt")
    with pytest.raises(XaibenchError, match=r"data set cub cannot be fetched by this command"):
        CUB.download(cub)
