"""PASCAL VOC: boxes and masks against torchvision's own readers, and every way in which the files may be wrong."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import VOCDetection, VOCSegmentation
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from xaibench import registry
from xaibench.cards import Geometry
from xaibench.datasets.annotated import classes_by_area, covered, in_photo
from xaibench.datasets.open import open_dataset
from xaibench.datasets.voc import VOC2007, VOC2012
from xaibench.datasets.voc_xml import CLASSES
from xaibench.errors import XaibenchError

WHOLE = Geometry(resize=40, crop=40, fit="stretch")
CUT = Geometry(resize=24, crop=20)
WIDTH, HEIGHT = 50, 40
# name, xmin, ymin, xmax, ymax as VOC writes them, difficult
TWO = [("dog", 3, 5, 22, 30, 0), ("person", 30, 1, 50, 40, 0)]


def xml(objects, size=(WIDTH, HEIGHT)) -> str:
    listed = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><part><name>head</name><bndbox><xmin>1</xmin>"
        "<ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
        f"<bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for name, x0, y0, x1, y1, difficult in objects
    )
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{listed}</annotation>"


def palette(pixels: np.ndarray) -> Image.Image:
    image = Image.fromarray(pixels.astype(np.uint8), "L").convert("P")
    image.putdata(pixels.astype(np.uint8).ravel().tolist())
    image.putpalette([n for label in range(256) for n in (label, 255 - label, 3 * label % 256)])
    return image


def drawn(objects) -> tuple[np.ndarray, np.ndarray]:
    """SegmentationClass and SegmentationObject: each object fills its box but for an undecided outline."""
    of_class, of_object = (np.zeros((HEIGHT, WIDTH), np.uint8) for _ in range(2))
    for number, (name, x0, y0, x1, y1, _) in enumerate(objects, 1):
        for mask, value in ((of_class, CLASSES.index(name) + 1), (of_object, number)):
            mask[y0 - 1 : y1, x0 - 1 : x1] = 255
            mask[y0 : y1 - 1, x0 : x1 - 1] = value
    return of_class, of_object


@pytest.fixture
def devkit(tmp_path):
    """devkit({"a": objects, ...}, masks=["a"], instances=["a"], year=2012): the folder that holds VOCdevkit."""

    def make(photos, masks=(), instances=(), year=2012, split="val"):
        folder = tmp_path / "VOCdevkit" / f"VOC{year}"
        for kind in ("JPEGImages", "Annotations", "SegmentationClass", "SegmentationObject", "ImageSets/Main"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / "ImageSets" / "Segmentation").mkdir()
        for seed, (name, objects) in enumerate(photos.items()):
            pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "JPEGImages" / f"{name}.jpg")
            (folder / "Annotations" / f"{name}.xml").write_text(xml(objects))
            for number, (kind, names) in enumerate((("SegmentationClass", masks), ("SegmentationObject", instances))):
                if name in names:
                    palette(drawn(objects)[number]).save(folder / kind / f"{name}.png")
        for kind, names in (("Main", photos), ("Segmentation", masks)):
            (folder / "ImageSets" / kind / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        return tmp_path

    return make


def shown(mask: np.ndarray, geometry: Geometry) -> np.ndarray:
    """A mask through torchvision's transforms."""
    image = Image.fromarray(mask.astype(np.uint8))
    if geometry.fit == "stretch":
        return np.array(F.resize(image, [geometry.crop, geometry.crop], InterpolationMode.NEAREST))
    resized = F.resize(image, geometry.resize, InterpolationMode.NEAREST)
    return np.array(F.center_crop(resized, [geometry.crop, geometry.crop]))


def test_ids_labels_and_photos(devkit):
    root = devkit({"2007_01": TWO, "2007_02": TWO[:1]})
    data = VOC2012(root, WHOLE, split="val")
    assert data.ids == ["JPEGImages/2007_01.jpg", "JPEGImages/2007_02.jpg"]
    assert data.labels(data.ids[0]) == (14, 11) and data.labels(data.ids[1]) == (11,)  # the person is larger
    assert data.classes[14] == "person" and len(data.classes) == 20 and list(data.classes) == sorted(data.classes)
    sample = data.load(data.ids[0])
    assert sample.label == 14 and sample.image.shape == (40, 40, 3) and sample.image_id == data.ids[0]
    for place in (root / "VOCdevkit", root / "VOCdevkit" / "VOC2012"):
        assert VOC2012(place, WHOLE).ids == data.ids, "an id does not depend on which folder is named"
    with pytest.raises(XaibenchError, match=r"val\.txt has no photo 'JPEGImages/2007_03\.jpg'"):
        data.load("JPEGImages/2007_03.jpg")


@pytest.mark.parametrize("geometry", [WHOLE, CUT, Geometry(resize=400, crop=333)])
def test_boxes_and_masks_are_torchvisions(devkit, geometry):
    root = devkit({"a": TWO, "b": [*TWO, ("dog", 10, 20, 30, 38, 1)]}, masks=["a", "b"], instances=["b"])
    data = VOC2012(root, geometry)
    for index, (image_id, boxes) in enumerate(zip(data.ids, VOCDetection(root, image_set="val"), strict=True)):
        found = data.annotate(image_id)
        listed = boxes[1]["annotation"]["object"]
        assert [CLASSES[label] for label in found.box_labels] == [entry["name"] for entry in listed]
        labels = np.array(VOCSegmentation(root, image_set="val")[index][1])
        for entry, box in zip(listed, found.boxes, strict=True):
            x0, y0, x1, y1 = (int(entry["bndbox"][key]) for key in ("xmin", "ymin", "xmax", "ymax"))
            filled = np.zeros(labels.shape, bool)
            filled[y0 - 1 : y1, x0 - 1 : x1] = True
            y, x = np.nonzero(shown(filled, geometry))
            assert np.abs(box - (x.min(), y.min(), x.max() + 1, y.max() + 1)).max() <= 1
        np.testing.assert_array_equal(found.ignored, shown(labels == 255, geometry))
        by_class = found.masks or {
            label: found.instances[found.box_labels == label].any(0) for label in set(found.box_labels.tolist())
        }
        assert set(by_class) == set(found.labels)
        for label, mask in by_class.items():
            np.testing.assert_array_equal(mask, shown(labels == label + 1, geometry))


def test_instances_are_those_of_segmentation_object(devkit):
    three = [*TWO, ("dog", 10, 20, 30, 38, 1)]
    data = VOC2012(devkit({"b": three}, masks=["b"], instances=["b"]), CUT)
    found, numbers = data.annotate(data.ids[0]), drawn(three)[1]
    assert found.instances.shape == (3, 20, 20) and found.masks == {}
    for number in (1, 2, 3):
        np.testing.assert_array_equal(found.instances[number - 1], shown(numbers == number, CUT))
    np.testing.assert_array_equal(found.objects["annotated"], found.instances)


def test_photos_without_masks_have_boxes_only(devkit):
    data = VOC2012(devkit({"a": TWO}), CUT)
    found = data.annotate(data.ids[0])
    assert found.masks == {} and found.instances.shape == (0, 20, 20) and found.ignored is None
    assert found.objects["annotated"].shape == (0, 20, 20) and len(found.boxes) == 2


def test_only_the_photos_with_masks(devkit):
    data = VOC2012(devkit({"a": TWO, "b": TWO}, masks=["b"]), WHOLE, only="masks")
    assert data.ids == ["JPEGImages/b.jpg"]
    assert data.annotate(data.ids[0]).objects["annotated"].shape == (2, 40, 40)


def test_difficult_objects_are_kept_or_dropped(devkit):
    objects = [TWO[0], ("person", 30, 1, 50, 40, 1)]
    root = devkit({"a": objects, "b": objects[1:]}, masks=["a"], instances=["a"])
    kept, dropped = VOC2012(root, WHOLE), VOC2012(root, WHOLE, difficult="drop")
    assert len(kept.ids) == 2 and dropped.ids == ["JPEGImages/a.jpg"]
    found = dropped.annotate(dropped.ids[0])
    assert found.labels == (11,) and len(found.boxes) == len(found.instances) == 1
    np.testing.assert_array_equal(found.instances[0], kept.annotate(kept.ids[0]).instances[0])
    assert [piece.count for piece in dropped.pieces()] == [1, 1, 1, 1] and "left out" in dropped.pieces()[-1].what
    assert [piece.count for piece in kept.pieces()] == [2, 1, 1]


def test_the_masks_of_dropped_classes_go_too(devkit):
    objects = [TWO[0], ("person", 30, 1, 50, 40, 1)]
    root = devkit({"a": objects}, masks=["a"])
    assert set(VOC2012(root, WHOLE).annotate("JPEGImages/a.jpg").masks) == {11, 14}
    dropped = VOC2012(root, WHOLE, difficult="drop").annotate("JPEGImages/a.jpg")
    assert set(dropped.masks) == {11} and len(dropped.objects["annotated"]) == 1


def test_the_digest_covers_boxes_and_masks(devkit):
    root = devkit({"a": TWO}, masks=["a"])
    folder, data = root / "VOCdevkit" / "VOC2012", VOC2012(root, WHOLE)
    before = data.digest(data.ids[0])
    assert data.load(data.ids[0]).digest == before
    (folder / "Annotations" / "a.xml").write_text(xml(TWO[:1]))
    after = data.digest(data.ids[0])
    palette(drawn(TWO[1:])[0]).save(folder / "SegmentationClass" / "a.png")
    assert len({before, after, data.digest(data.ids[0])}) == 3


def test_fractions_and_a_box_one_pixel_beyond_the_photo(devkit):
    data = VOC2012(devkit({"a": [("dog", 0, 0, WIDTH + 1, HEIGHT + 1, 0), ("cat", 10.5, 8.25, 30, 20, 0)]}), WHOLE)
    assert data.annotate(data.ids[0]).boxes.tolist() == [[0, 0, 40, 40], [8, 7, 24, 20]]


def test_a_box_of_one_pixel_is_a_box(devkit):
    data = VOC2012(devkit({"a": [("dog", 5, 5, 5, 5, 0)]}), WHOLE)
    x0, y0, x1, y1 = data.annotate(data.ids[0]).boxes[0]
    assert (x1 - x0, y1 - y0) == (1, 1)


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([], "a.xml lists no object"),
        ([("dgo", 1, 1, 9, 9, 0)], "a.xml, object 1: the class 'dgo' is unknown; did you mean dog"),
        ([TWO[0], ("dog", 9, 1, 8, 9, 0)], r"a.xml, object 2 \(dog\): the box 9 1 8 9 ends before it begins"),
        ([("dog", 1, 9, 8, 7, 0)], "the box 1 9 8 7 ends before it begins"),
        ([("dog", "x", 1, 8, 9, 0)], r"a.xml, object 1 \(dog\): <xmin> is 'x', not a number"),
        ([("dog", "nan", 1, 8, 9, 0)], "<xmin> is 'nan', not a number"),
        ([("", 1, 1, 8, 9, 0)], "a.xml, object 1 has no name"),
    ],
)
def test_objects_that_are_wrong_are_named_when_the_data_is_opened(objects, message, devkit):
    with pytest.raises(XaibenchError, match=message):
        VOC2012(devkit({"a": objects}), WHOLE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>", "a.xml is no XML"),
        ("<html></html>", "a.xml is no annotation of PASCAL VOC: it begins with <html>"),
        (
            "<annotation><size><width>50</width><height>40</height></size><object><name>dog</name></object></annotation>",
            "<xmin> is missing",
        ),
    ],
)
def test_files_that_are_no_annotations(text, message, devkit):
    root = devkit({"a": TWO})
    (root / "VOCdevkit" / "VOC2012" / "Annotations" / "a.xml").write_text(text)
    with pytest.raises(XaibenchError, match=message):
        VOC2012(root, WHOLE)


@pytest.mark.parametrize(
    ("box", "wrong"),
    [
        ((1, 1, WIDTH + 2, 9), "reaches beyond its photo of 50 x 40"),
        ((1, -1, 9, 9), "reaches beyond"),
        ((WIDTH + 1, 1, WIDTH + 1, 9), "has no pixel in its photo"),
    ],
)
def test_boxes_outside_of_their_photo(box, wrong, devkit):
    data = VOC2012(devkit({"a": [("dog", *box, 0)]}), WHOLE)
    with pytest.raises(XaibenchError, match=f"a.xml, object 1: the box .* {wrong}"):
        data.annotate(data.ids[0])


@pytest.mark.parametrize("size", [(25, 20), (100, 80), (HEIGHT, WIDTH), (51, 40), (50, 39.5)])
def test_boxes_of_a_photo_of_another_size_are_refused(size, devkit):
    """The file is of a photo that was halved, doubled, turned or cut since."""
    root = devkit({"a": [("dog", 2, 3, 9, 9, 0)]})
    (root / "VOCdevkit" / "VOC2012" / "Annotations" / "a.xml").write_text(xml([("dog", 2, 3, 9, 9, 0)], size))
    data = VOC2012(root, WHOLE)
    message = (
        f"a.jpg is 50 x 40 pixels, but {size[0]} x {size[1]:g} in .*a.xml; restore it, since annotations do not fit"
    )
    with pytest.raises(XaibenchError, match=message) as caught:
        data.annotate(data.ids[0])
    assert "\n" not in str(caught.value)
    assert data.load(data.ids[0]).label == 11, "protocols that need no boxes are not held up"


@pytest.mark.parametrize(
    "size",
    [
        "", "<size></size>", "<size><width>0</width><height>0</height><depth>3</depth></size>",
        "<size><width/><height/></size>", "<size><width>50</width></size>",
        "<size><width>50.0</width><height>40</height></size>",
    ],
)  # fmt: skip
def test_a_size_may_be_missing_or_zero(size, devkit):
    root = devkit({"a": TWO})
    expected = VOC2012(root, WHOLE).annotate("JPEGImages/a.jpg").boxes
    path, given = root / "VOCdevkit" / "VOC2012" / "Annotations" / "a.xml", xml(TWO)
    start, end = given.index("<size>"), given.index("</size>") + len("</size>")
    path.write_text(given[:start] + size + given[end:])
    np.testing.assert_array_equal(VOC2012(root, WHOLE).annotate("JPEGImages/a.jpg").boxes, expected)


def with_mask(root, kind, pixels):
    path = root / "VOCdevkit" / "VOC2012" / kind / "a.png"
    (pixels if isinstance(pixels, Image.Image) else palette(pixels)).save(path)


@pytest.mark.parametrize(
    ("kind", "pixels", "message"),
    [
        ("SegmentationClass", np.zeros((9, 8)), "a.png is 8 x 9 pixels, its photo 50 x 40"),
        ("SegmentationClass", Image.new("RGB", (WIDTH, HEIGHT)), "a.png has the mode RGB; labels are palette indices"),
        ("SegmentationClass", np.full((HEIGHT, WIDTH), 21), "a.png has the label 21; VOC's are 0 to 20, and 255"),
        ("SegmentationObject", np.full((HEIGHT, WIDTH), 3), "a.png has the object 3, .*a.xml lists 2"),
        ("SegmentationObject", drawn(TWO[::-1])[1], "a.png: object 1 is dog in .*a.xml, but person in .*Class"),
        ("SegmentationObject", np.zeros((9, 8)), "a.png is 8 x 9 pixels, its photo 50 x 40"),
    ],
)
def test_masks_that_do_not_fit(kind, pixels, message, devkit):
    root = devkit({"a": TWO}, masks=["a"])
    with_mask(root, kind, pixels)
    data = VOC2012(root, WHOLE)
    with pytest.raises(XaibenchError, match=message):
        data.annotate(data.ids[0])


def test_instances_of_one_class_in_another_order_than_the_xml_are_noticed(devkit):
    dogs = [("dog", 3, 5, 12, 30, 0), ("dog", 30, 1, 50, 40, 0)]
    root = devkit({"a": dogs}, masks=["a"])
    with_mask(root, "SegmentationObject", drawn(dogs[::-1])[1])
    data = VOC2012(root, WHOLE)
    with pytest.raises(XaibenchError, match=r"a.png: most of object 1 lies outside of its box in .*a\.xml"):
        data.annotate(data.ids[0])


def test_instances_without_classes(devkit):
    data = VOC2012(devkit({"a": TWO}, instances=["a"]), WHOLE)
    with pytest.raises(XaibenchError, match=r"SegmentationObject/a.png has no counterpart .*SegmentationClass/a.png"):
        data.annotate(data.ids[0])


def test_grey_masks_of_8_and_16_bits_are_read(devkit):
    root = devkit({"a": TWO}, masks=["a"])
    data, expected = VOC2012(root, WHOLE), shown(drawn(TWO)[0] == 12, WHOLE)
    for pixels in (drawn(TWO)[0], drawn(TWO)[0].astype(np.uint16)):
        with_mask(root, "SegmentationClass", Image.fromarray(pixels))
        np.testing.assert_array_equal(data.annotate(data.ids[0]).masks[11], expected)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a\nb\na\n", r"val.txt:3: name of a photo a is listed twice"),
        ("a\nc\n", r"val.txt lists 1 of 2 files that do not exist, such as .*JPEGImages/c.jpg"),
        ("a 1\n", r"val.txt:1: 2 columns, not 1"),
        ("\n", "val.txt is empty"),
    ],
)
def test_lists_that_are_wrong(lines, message, devkit):
    root = devkit({"a": TWO, "b": TWO})
    (root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Main" / "val.txt").write_text(lines)
    with pytest.raises(XaibenchError, match=message):
        VOC2012(root, WHOLE)


def test_what_is_missing_is_named(devkit, tmp_path):
    root = devkit({"a": TWO})
    with pytest.raises(XaibenchError, match=r"test\.txt is missing; name another by --dataset-option split=val$"):
        VOC2012(root, WHOLE, split="test")
    with pytest.raises(XaibenchError, match="voc2012: split 'vall' is unknown; did you mean val"):
        VOC2012(root, WHOLE, split="vall")
    with pytest.raises(XaibenchError, match=r"is VOC 2012, not the VOC 2007 of data set voc2007"):
        VOC2007(root / "VOCdevkit" / "VOC2012", WHOLE)
    with pytest.raises(XaibenchError, match="has no VOCdevkit/VOC2007 with Annotations"):
        VOC2007(root, WHOLE)
    with pytest.raises(XaibenchError, match=r"no photo of .* has an object that is kept"):
        VOC2012(devkit_of_difficult(root), WHOLE, difficult="drop")
    (root / "VOCdevkit" / "VOC2012" / "Annotations" / "a.xml").unlink()
    with pytest.raises(XaibenchError, match=r"do not exist, such as .*Annotations/a.xml"):
        VOC2012(root, WHOLE)


def devkit_of_difficult(root):
    (root / "VOCdevkit" / "VOC2012" / "Annotations" / "a.xml").write_text(xml([("dog", 1, 1, 9, 9, 1)]))
    return root


def test_boxes_are_cut_off_at_the_edges_of_their_photo():
    boxes = np.array([[-1, 0.5, 4, 41], [2, 3, 51, 9]])
    assert in_photo(boxes, (50, 40), ["a", "b"]).tolist() == [[0, 0.5, 4, 40], [2, 3, 50, 9]]


def test_area_counts_overlaps_once():
    boxes = np.array([[0, 0, 4, 4], [2, 2, 6, 6], [0, 0, 4, 4]], dtype=float)
    assert covered(boxes) == 28 and covered(boxes[:0]) == 0
    # twice the same 4 x 4 covers less than one 5 x 4, and equals another 4 x 4
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 4], [5, 5, 10, 9], [6, 0, 10, 4]], dtype=float)
    assert classes_by_area(boxes, np.array([3, 3, 7, 1])) == (7, 1, 3)


def test_what_torchvision_cannot_fetch_is_one_line(tmp_path, monkeypatch):
    asked = []

    def refuse(url, root, **more):
        asked.append(url)
        raise OSError("no\nnetwork")

    monkeypatch.setattr("torchvision.datasets.voc.download_and_extract_archive", refuse)
    with pytest.raises(XaibenchError, match="data set voc2007 could not be fetched: no network"):
        VOC2007.download(tmp_path, split="test")
    assert asked and asked[0].endswith("VOCtest_06-Nov-2007.tar")
    with pytest.raises(XaibenchError, match="annotations of the test photos are not public"):
        VOC2012.download(tmp_path, split="test")


@pytest.mark.parametrize("name", ["voc2007", "voc2012"])
def test_cards_open(name, devkit):
    year = int(name[3:])
    card = registry.card("dataset", name)
    root = devkit({"a": TWO}, masks=["a"], year=year, split=card.parameters["split"])
    data = open_dataset(card, root, {"only": "masks"})
    assert data.name == name and data.annotate(data.ids[0]).masks[14].shape == (224, 224) and card.layout


def test_the_real_miniature_agrees_with_torchvision(real):
    card = registry.card("dataset", "voc2012")
    data = open_dataset(card, real, {"split": "trainval", "only": "masks"})
    theirs = VOCSegmentation(real, image_set="trainval")
    assert len(data.ids) == len(theirs) == 58
    assert len(open_dataset(card, real, {"split": "trainval"}).ids) == 60
    for image_id, (_, mask) in zip(data.ids, theirs, strict=True):
        found, labels = data.annotate(image_id), np.array(mask)
        np.testing.assert_array_equal(found.ignored, shown(labels == 255, card.geometry))
        for label, own in found.masks.items():
            np.testing.assert_array_equal(own, shown(labels == label + 1, card.geometry))
            boxes = np.zeros_like(own)
            for x0, y0, x1, y1 in found.boxes[found.box_labels == label]:
                boxes[y0:y1, x0:x1] = True
            assert (own & boxes).sum() > 0.8 * own.sum(), "masks lie in their boxes, but for a few legs and tails"
