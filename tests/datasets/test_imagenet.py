"""ImageNet's published boxes: where the files may be, what their known faults become, and photos without them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import VOCDetection
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from xaibench import registry
from xaibench.cards import Geometry
from xaibench.datasets.imagenet import ImageNet, published_boxes
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError

GEOMETRY = Geometry(resize=24, crop=20)
TENCH, GOLDFISH = "n01440764", "n01443537"
WIDTH, HEIGHT = 50, 40


def xml(objects, size=(WIDTH, HEIGHT)) -> str:
    listed = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
        "</bndbox></object>"
        for name, x0, y0, x1, y1 in objects
    )
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{listed}</annotation>"


@pytest.fixture
def folder(tmp_path):
    """folder({"Annotations/val/a.xml": objects, ...}): a root with val/n01440764/a.JPEG and b.JPEG, and such files."""

    def make(files=(), top="val"):
        for name in ("a", "b"):
            path = tmp_path / "data" / top / TENCH / f"{name}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (WIDTH, HEIGHT), "red" if name == "a" else "blue").save(path)
        for name, objects in dict(files).items():
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(objects if isinstance(objects, str) else xml(objects))
        return tmp_path / "data"

    return make


BOX = [(TENCH, 5, 4, 30, 36)]
PLACES = [
    "Annotations/val/a.xml",
    f"Annotations/val/{TENCH}/a.xml",
    "Annotations/CLS-LOC/val/a.xml",
    f"Annotations/CLS-LOC/val/{TENCH}/a.xml",
    "Annotations/a.xml",
    f"Annotations/{TENCH}/a.xml",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("below", ["", "val"])
def test_boxes_are_found_beside_the_class_folders(place, below, folder):
    data = ImageNet(folder({place: BOX}) / below, GEOMETRY, "val")
    boxed, other = (data.annotate(image_id) for image_id in data.ids)
    filled = np.zeros((HEIGHT, WIDTH), np.uint8)
    filled[4:36, 5:30] = 1
    resized = F.resize(Image.fromarray(filled), 24, InterpolationMode.NEAREST)
    y, x = np.nonzero(np.array(F.center_crop(resized, [20, 20])))
    assert np.abs(boxed.boxes - [[x.min(), y.min(), x.max() + 1, y.max() + 1]]).max() <= 1
    assert boxed.labels == (0,) and boxed.box_labels.tolist() == [0] and boxed.instances.shape == (0, 20, 20)
    assert other.labels == (0,) and other.boxes.shape == (0, 4) and other.box_labels.shape == (0,)
    assert [piece.count for piece in data.pieces()] == [2, 1] and "boxes" in data.knows


def test_without_a_folder_of_boxes_all_is_as_it_was(folder):
    data = ImageNet(folder(), GEOMETRY, "val")
    plain = [data.digest(image_id) for image_id in data.ids]
    assert data.knows == frozenset() and [piece.count for piece in data.pieces()] == [2, None]
    with pytest.raises(XaibenchError, match=r"data set imagenet has no boxes: their XML files belong in .*Annotations"):
        data.annotate(data.ids[0])
    with_boxes = ImageNet(folder({"Annotations/val/a.xml": BOX}), GEOMETRY, "val")
    assert [with_boxes.digest(i) == before for i, before in zip(data.ids, plain, strict=True)] == [False, True]
    assert with_boxes.load(data.ids[0]).digest == with_boxes.digest(data.ids[0])


def boxes_of(objects, size=(WIDTH, HEIGHT), photo=(WIDTH, HEIGHT), own=0):
    boxes, labels = published_boxes(xml(objects, size).encode(), "a.xml", photo, own)
    return boxes.tolist(), labels


def test_known_faults_of_the_published_files():
    assert boxes_of([(TENCH, 30, 4, 5, 36)]) == ([[5, 4, 30, 36]], [0]), "swapped corners"
    assert boxes_of([(TENCH, -3, 4, 90, 36)]) == ([[0, 4, 50, 36]], [0]), "beyond the photo"
    assert boxes_of([(TENCH, 60, 4, 90, 36), *BOX]) == ([[5, 4, 30, 36]], [0]), "outside of the photo"
    assert boxes_of(BOX, size=(100, 80)) == ([[2.5, 2, 15, 18]], [0]), "in the pixels of a larger copy"
    assert boxes_of([("Scottish_deerhound", 5, 4, 30, 36)], own=177)[1] == [177], "a name instead of an id"
    assert boxes_of([(GOLDFISH, 5, 4, 30, 36), *BOX])[1] == [1, 0]
    assert boxes_of([]) == ([], [])


def test_copies_of_the_photo_in_other_sizes_are_told_from_other_photos():
    """Every size to which a photo of 500 x 375 may be resized fits, rounded up or down; one turned, cut or stretched
    does not."""
    from xaibench.datasets.imagenet import same_shape

    for width in (64, 100, 257, 333, 500, 640, 2000):
        exact = width * 375 / 500
        assert all(same_shape((width, height), (500, 375)) for height in (int(exact), int(exact) + 1))
        assert all(same_shape((500, 375), (width, height)) for height in (int(exact), int(exact) + 1))
    assert not any(
        same_shape(size, (500, 375)) for size in [(375, 500), (224, 224), (341, 300), (256, 256), (188, 250)]
    )
    assert not same_shape((500, 499), (499, 500)) and same_shape((500, 500), (64, 64))


@pytest.mark.parametrize("photo", [(HEIGHT, WIDTH), (40, 40), (224, 224)])
def test_boxes_of_a_photo_of_another_shape_are_refused(photo):
    with pytest.raises(
        XaibenchError, match=f"a.xml has boxes of a photo of 50 x 40 pixels, not {photo[0]} x {photo[1]}"
    ):
        boxes_of(BOX, photo=photo)


def test_without_a_size_boxes_are_in_the_pixels_of_the_photo():
    assert boxes_of(BOX, size=(0, 0)) == boxes_of(BOX)
    assert published_boxes(b"<annotation/>", "a.xml", (50, 40), 0)[0].shape == (0, 4)
    with pytest.raises(XaibenchError, match=r"a.xml, object 1: the box 5 4 90 36 reaches beyond its photo"):
        boxes_of([(TENCH, 5, 4, 90, 36)], size=(0, 0))


def test_the_photos_own_class_comes_first(folder):
    data = ImageNet(folder({"Annotations/val/a.xml": [(GOLDFISH, 1, 1, 49, 39), *BOX]}), GEOMETRY, "val")
    found = data.annotate(data.ids[0])
    assert found.labels == (0, 1) and found.box_labels.tolist() == [1, 0]
    assert data.labels(data.ids[0]) == (0,) and data.label(data.ids[0]) == 0


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([("n99999999", 1, 1, 9, 9)], "a.xml, object 1: n99999999 is none of ImageNet's 1000 classes"),
        ("<annotation>", "a.xml is no XML"),
        (xml(BOX, ("?", 40)), "a.xml: the photo's size: <width> is '\\?', not a number"),
    ],
)
def test_files_that_are_wrong(objects, message, folder):
    data = ImageNet(folder({"Annotations/val/a.xml": objects}), GEOMETRY, "val")
    with pytest.raises(XaibenchError, match=message):
        data.annotate(data.ids[0])


def test_corners_are_those_that_torchvision_reads():
    from xml.etree import ElementTree

    theirs = VOCDetection.parse_voc_xml(ElementTree.fromstring(xml(BOX)))["annotation"]["object"][0]["bndbox"]
    assert boxes_of(BOX)[0][0] == [float(theirs[key]) for key in ("xmin", "ymin", "xmax", "ymax")]


def test_the_card_opens_photos_with_boxes(folder):
    data = open_dataset(registry.card("dataset", "imagenet"), folder({"Annotations/val/a.xml": BOX}), {})
    # times 6.4, less 48 columns and 16 rows
    assert data.annotate(data.ids[0]).boxes.tolist() == [[0, 10, 144, 214]]


def test_the_real_photos_have_no_boxes_and_say_so(real):
    data = open_dataset(registry.card("dataset", "imagenet"), real / "imagenet_sample", {})
    assert len(data.ids) == 300 and not data.knows
