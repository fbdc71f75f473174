"""COCO: boxes, polygons and runs against pycocotools, the published layouts, and files that are wrong."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from xaibench import registry
from xaibench.cards import Geometry
from xaibench.datasets.coco import Coco2014, Coco2017, CocoJson
from xaibench.datasets.coco_masks import instance_mask
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError

pytest.importorskip("pycocotools", reason="the extra coco is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools

WHOLE = Geometry(resize=40, crop=40, fit="stretch")
CUT = Geometry(resize=24, crop=20)
SIZES = {1: (50, 40), 2: (32, 60), 3: (45, 45), 4: (50, 40)}
CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]


def polygon(x, y, w, h):
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def runs(mask: np.ndarray, compressed: bool = False) -> dict:
    """A mask (height, width) as pycocotools writes it, or as its runs counted here."""
    if compressed:
        from pycocotools import mask as theirs

        found = theirs.encode(np.asfortranarray(mask.astype(np.uint8)))
        return {"size": list(mask.shape), "counts": found["counts"].decode()}
    flat = np.concatenate([[False], mask.T.ravel()])
    edges = np.flatnonzero(np.diff(flat))
    return {"size": list(mask.shape), "counts": np.diff([0, *edges, mask.size]).tolist()}


def annotation(number, image, category, box, segmentation=None, crowd=0):
    made = {"id": number, "image_id": image, "category_id": category, "bbox": list(box), "iscrowd": crowd, "area": 1}
    return made | ({} if segmentation is None else {"segmentation": segmentation})


def blob(size, seed=0):
    """A ragged mask (height, width)."""
    return np.random.default_rng(seed).random(size[::-1]) > 0.6


ANNOTATIONS = [
    annotation(7, 1, 18, (4, 5.5, 20, 10.25), polygon(4, 5.5, 20, 10.25)),
    annotation(3, 1, 1, (10, 10, 30, 30), runs(blob(SIZES[1]))),
    annotation(5, 1, 18, (0, 0, 50, 40), runs(blob(SIZES[1], 1), compressed=True), crowd=1),
    annotation(8, 2, 90, (1, 1, 9, 50), polygon(1, 1, 9, 25) + polygon(3, 30, 5, 21)),
]


def content(annotations=ANNOTATIONS, images=SIZES, categories=CATEGORIES) -> dict:
    listed = [{"id": n, "file_name": f"{n:06d}.jpg", "width": w, "height": h} for n, (w, h) in images.items()]
    return {"images": listed[::-1], "annotations": list(annotations), "categories": list(categories)}


@pytest.fixture
def folder(tmp_path):
    """folder(content, file=..., photos=...): a root with a COCO JSON and its photos."""

    def make(made=None, file="annotations/instances.json", photos="images"):
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made if isinstance(made, str) else json.dumps(made or content()))
        (tmp_path / photos).mkdir(parents=True, exist_ok=True)
        for number, size in SIZES.items():
            pixels = np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / photos / f"{number:06d}.jpg")
        return tmp_path

    return make


def shown(mask: np.ndarray, geometry: Geometry) -> np.ndarray:
    """A mask through torchvision's transforms."""
    image = Image.fromarray(mask.astype(np.uint8))
    if geometry.fit == "stretch":
        return np.array(F.resize(image, [geometry.crop, geometry.crop], InterpolationMode.NEAREST)).astype(bool)
    resized = F.resize(image, geometry.resize, InterpolationMode.NEAREST)
    return np.array(F.center_crop(resized, [geometry.crop, geometry.crop])).astype(bool)


def test_ids_classes_and_labels(folder):
    data = CocoJson(folder(), WHOLE)
    assert data.ids == ["images/000001.jpg", "images/000002.jpg"], "3 and 4 have no object"
    assert data.classes == ("person", "dog", "toothbrush"), "in order of category ids, which have gaps"
    assert data.labels(data.ids[0]) == (1, 0) and data.labels(data.ids[1]) == (2,)
    sample = data.load(data.ids[0])
    assert sample.label == 1 and sample.image.shape == (40, 40, 3)
    counts = {piece.what: piece.count for piece in data.pieces()}
    assert counts["instances"] == 4 and counts["photos with objects"] == 2
    assert counts["photos left out, without objects"] == 2
    with pytest.raises(XaibenchError, match=r"has no photo 'images/000003\.jpg' with an object"):
        data.load("images/000003.jpg")


@pytest.mark.parametrize("geometry", [WHOLE, CUT, Geometry(resize=300, crop=280)])
def test_boxes_and_masks_are_those_of_pycocotools(folder, geometry, capsys):
    from pycocotools.coco import COCO

    root = folder()
    data, theirs = CocoJson(root, geometry), COCO(root / "annotations" / "instances.json")
    for image_id, photo in zip(data.ids, (1, 2), strict=True):
        found = data.annotate(image_id)
        listed = sorted(theirs.loadAnns(theirs.getAnnIds(photo)), key=lambda entry: entry["id"])
        assert [sorted(theirs.cats)[label] for label in found.box_labels] == [e["category_id"] for e in listed]
        assert len(found.instances) == len(listed) and found.objects["annotated"] is found.instances
        for entry, instance, box in zip(listed, found.instances, found.boxes, strict=True):
            np.testing.assert_array_equal(instance, shown(theirs.annToMask(entry), geometry))
            x, y, w, h = entry["bbox"]
            enlarged = np.zeros(SIZES[photo][::-1])
            enlarged[round(y) : round(y + h), round(x) : round(x + w)] = 1
            filled = shown(enlarged, geometry)
            scale = max(filled.shape) / min(enlarged.shape)
            rows, columns = np.nonzero(filled)
            tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert np.abs(box - tight).max() <= 1 + scale / 2, "up to rounding before and after the resize"


def test_a_box_is_its_filled_rectangle(folder):
    data = CocoJson(folder(content([annotation(1, 1, 1, (10, 8, 20, 16))])), WHOLE)
    assert data.annotate(data.ids[0]).boxes.tolist() == [[8, 8, 24, 24]]


def test_crowds_are_kept_or_dropped(folder):
    root = folder()
    data = CocoJson(root, WHOLE, crowd="drop")
    found = data.annotate(data.ids[0])
    assert found.labels == (0, 1) and len(found.boxes) == 2, "the crowd of dogs covered most"
    with pytest.raises(XaibenchError, match="coco-json: crowd 'kept' is unknown; did you mean keep"):
        CocoJson(root, WHOLE, crowd="kept")


def test_photos_of_any_folder_below_root(folder, tmp_path):
    made = content()
    for entry in made["images"]:
        entry["file_name"] = f"deep/{entry['file_name']}"
    root = folder(made, file="all.json", photos="deep")
    data = CocoJson(root, WHOLE, annotations="all.json", images="")
    assert data.ids[0] == "deep/000001.jpg" and data.path(data.ids[0]) == root / "deep" / "000001.jpg"


def test_the_digest_covers_what_the_file_says_of_the_photo(folder):
    root = folder()
    before = CocoJson(root, WHOLE)
    folder(content([*ANNOTATIONS[:-1], annotation(8, 2, 90, (1, 1, 9, 40))]))
    after = CocoJson(root, WHOLE)
    assert [before.digest(i) == after.digest(i) for i in before.ids] == [True, False]
    assert before.load(before.ids[0]).digest == before.digest(before.ids[0])


def test_boxes_alone(folder):
    data = CocoJson(folder(content([annotation(1, 1, 1, (1, 1, 9, 9)), annotation(2, 1, 1, (2, 1, 9, 9), [])])), CUT)
    found = data.annotate(data.ids[0])
    assert len(found.boxes) == 2 and found.instances.shape == (0, 20, 20)


def test_boxes_without_area_are_left_out_and_counted(folder):
    flat = [annotation(11, 2, 1, (3, 3, 9, 0)), annotation(12, 3, 1, (3, 3, 0, 9))]
    data = CocoJson(folder(content(ANNOTATIONS + flat)), WHOLE)
    assert len(data.ids) == 2 and len(data.annotate(data.ids[1]).boxes) == 1
    assert {p.what: p.count for p in data.pieces()}["boxes left out, without area"] == 2


MASKS = st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.5, 1.0]))


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_runs_are_read_as_pycocotools_writes_them(drawn):
    height, width, seed, share = drawn
    mask = np.random.default_rng(seed).random((height, width)) < share
    for compressed in (False, True):
        found = instance_mask(runs(mask, compressed), (width, height), "test")
        np.testing.assert_array_equal(found, mask)


def test_long_runs_are_read():
    mask = np.zeros((700, 900), bool)
    mask[300:, 450:] = True
    np.testing.assert_array_equal(instance_mask(runs(mask, compressed=True), (900, 700), "test"), mask)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 1, 2, 2]], "annotation 1: a polygon of 4 numbers, not x and y of at least 3 points"),
        ([[1, 1, 2, 2, 3, 3, 4]], "a polygon of 7 numbers"),
        ([[1, 1, 2, 2, 3, "a"]], "is no list of numbers"),
        ([1, 1, 2, 2, 3, 3], "is no list of numbers"),
        ("polygon", "neither polygons nor runs"),
        ({"size": [50, 40], "counts": [2000]}, r"has the size \[50, 40\], its photo \[40, 50\]"),
        ({"size": [40, 50], "counts": [1000]}, "do not fill its photo of 50 x 40 pixels"),
        ({"size": [40, 50], "counts": [2001, -1]}, "do not fill"),
        ({"size": [40, 50], "counts": "35"}, "do not fill"),
        ({"size": [40, 50], "counts": "\n\n"}, "do not fill"),
        ({"size": [40, 50]}, "do not fill"),
    ],
)
def test_segmentations_that_are_wrong(segmentation, message, folder):
    data = CocoJson(folder(content([annotation(1, 1, 1, (1, 1, 9, 9), segmentation)])), WHOLE)
    with pytest.raises(XaibenchError, match=rf"instances.json: annotation 1.*{message.removeprefix('annotation 1: ')}"):
        data.annotate(data.ids[0])


def test_a_photo_with_masks_for_some_objects_only(folder):
    some = [annotation(1, 1, 1, (1, 1, 9, 9), polygon(1, 1, 9, 9)), annotation(2, 1, 1, (1, 1, 9, 9))]
    data = CocoJson(folder(content(some)), WHOLE)
    with pytest.raises(XaibenchError, match="annotation 2 has no segmentation, as others of its photo have"):
        data.annotate(data.ids[0])


@pytest.mark.parametrize("box", [(45, 1, 6.5, 9), (-2, 1, 9, 9), (50.5, 1, 0.5, 9)])
def test_boxes_outside_of_their_photo(box, folder):
    data = CocoJson(folder(content([annotation(6, 1, 1, box)])), WHOLE)
    with pytest.raises(XaibenchError, match=r"annotation 6: the box .* its photo of 50 x 40 pixels"):
        data.annotate(data.ids[0])


def changed(**lists):
    return content() | lists


PHOTO = {"id": 1, "file_name": "000001.jpg", "width": 50, "height": 40}


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("{", "instances.json is no JSON"),
        ("[]", "is no COCO JSON of instances: it has no categories"),
        (changed(annotations=[]), "it has no annotations"),
        (changed(images={"1": PHOTO}), "it has no images"),
        (changed(images=[PHOTO, PHOTO | {"file_name": "b.jpg"}]), "two images have the id 1"),
        (changed(images=[PHOTO, PHOTO | {"id": 2}]), "two images have the same file_name"),
        (changed(images=[{"id": 1, "file_name": "a.jpg", "width": 50}]), "entry 0 of images has no height"),
        (changed(images=[PHOTO | {"file_name": "../a.jpg"}]), "is no path below the folder of photos"),
        (changed(annotations=ANNOTATIONS[:1] * 2), "two annotations have the id 7"),
        (changed(categories=CATEGORIES[:1] * 2), "two categories have the id 90"),
        (content([annotation(1, 9, 1, (1, 1, 9, 9))]), "annotation 1 is of image 9, which is not listed"),
        (content([annotation(1, 1, 2, (1, 1, 9, 9))]), "annotation 1 has category 2, which is not listed"),
        (content([annotation(1, 1, 1, (1, 1, 9))]), r"annotation 1 has the box \[1, 1, 9\], not x, y"),
        (content([annotation(1, 1, 1, (1, 1, -9, 9))]), "annotation 1 has the box"),
        (content([annotation(1, 1, 1, (1, 1, "9", 9))]), "annotation 1 has the box"),
        (content([annotation(1, 1, 1, (1, 1, 0, 9))]), "no photo of .* has an object"),
        (content(images=SIZES | {1: (50, 40), 77: (9, 9)}, annotations=[annotation(1, 77, 1, (1, 1, 5, 5))]),
         "lists 1 of 1 files that do not exist, such as .*000077.jpg"),
    ],
)  # fmt: skip
def test_files_that_are_wrong(made, message, folder):
    with pytest.raises(XaibenchError, match=message) as caught:
        CocoJson(folder(made), WHOLE)
    assert "instances.json" in str(caught.value) and "\n" not in str(caught.value)


def test_photos_of_another_size_than_the_file_says(folder):
    root = folder()
    Image.new("RGB", (32, 61)).save(root / "images" / "000002.jpg")
    data = CocoJson(root, WHOLE)
    with pytest.raises(XaibenchError, match=r"000002.jpg is 32 x 61 pixels, but 32 x 60 in .*instances.json"):
        data.annotate(data.ids[1])


def test_a_size_of_zero_is_not_known(folder):
    known = CocoJson(folder(), WHOLE)
    boxes = [known.annotate(image_id).boxes for image_id in known.ids]
    made = content()
    for photo in made["images"]:
        photo["width"] = photo["height"] = 0
    data = CocoJson(folder(made), WHOLE)
    for image_id, expected in zip(data.ids, boxes, strict=True):
        np.testing.assert_array_equal(data.annotate(image_id).boxes, expected)


def test_files_and_folders_that_are_missing(folder, tmp_path):
    root = folder(file="annotations/instances_mine.json")
    with pytest.raises(XaibenchError, match=r"there is annotations/instances_mine.json; name it by --dataset-option"):
        CocoJson(root, WHOLE)
    with pytest.raises(XaibenchError, match="photos is no folder; name that of the photos"):
        CocoJson(root, WHOLE, "annotations/instances_mine.json", "photos")
    with pytest.raises(XaibenchError, match=r"data set coco2017: .*instances_val2017.json is missing"):
        Coco2017(root, WHOLE)


def test_polygons_without_pycocotools_name_the_extra(folder, monkeypatch):
    data = CocoJson(folder(), WHOLE)
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(XaibenchError, match=r"need pycocotools: pip install 'xaibench\[coco\]'"):
        data.annotate(data.ids[0])


@pytest.mark.parametrize("photos", ["val2017", "images/val2017"])
def test_the_published_layouts(folder, photos):
    root = folder(file="annotations/instances_val2017.json", photos=photos)
    data = open_dataset(registry.card("dataset", "coco2017"), root, {})
    assert data.ids == ["val2017/000001.jpg", "val2017/000002.jpg"] and data.name == "coco2017"
    assert data.annotate(data.ids[1]).instances.shape == (1, 224, 224)
    with pytest.raises(XaibenchError, match="coco2017: split 'test' is unknown; known are train, val"):
        Coco2017(root, WHOLE, split="test")


def test_coco2014_splits_its_training_photos_into_nine_and_one_tenth(tmp_path):
    sizes = dict.fromkeys(range(1, 62), (20, 16))
    (tmp_path / "annotations").mkdir()
    for part in ("train2014", "val2014"):
        made = content([annotation(n, n, 1, (1, 1, 9, 9)) for n in sizes], sizes)
        (tmp_path / "annotations" / f"instances_{part}.json").write_text(json.dumps(made))
        (tmp_path / part).mkdir()
        for entry in made["images"]:
            (tmp_path / part / entry["file_name"]).touch()
    train, val, test = (Coco2014(tmp_path, WHOLE, split).ids for split in ("train", "val", "test"))
    assert len(val) == 7 and not set(train) & set(val) and len(train) + len(val) == len(test) == 61
    assert val == Coco2014(tmp_path, WHOLE, "val").ids and val != sorted(train + val)[:7] and val == sorted(val)
    assert all(i.startswith("val2014/") for i in test)
    assert -(-82081 // 10) == 8209, "as many as Rao et al. have"


def test_the_real_miniature_agrees_with_pycocotools(real, capsys):
    from pycocotools.coco import COCO

    file = "annotations/instances_mini.json"
    card, theirs = registry.card("dataset", "coco-json"), COCO(real / "coco_mini" / file)
    data, seen = open_dataset(card, real / "coco_mini", {"annotations": file}), 0
    for image_id in data.ids:
        found = data.annotate(image_id)
        photo = next(p for p in theirs.imgs.values() if image_id.endswith(p["file_name"]))
        listed = sorted(theirs.imgToAnns[photo["id"]], key=lambda entry: entry["id"])
        for entry, instance in zip(listed, found.instances, strict=True):
            np.testing.assert_array_equal(instance, shown(theirs.annToMask(entry), card.geometry))
            seen += 1
        assert found.labels[0] == data.label(image_id) and (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert (len(data.ids), seen, len(data.classes)) == (7, 79, 80)
