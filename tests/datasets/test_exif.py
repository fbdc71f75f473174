"""Photos with an EXIF orientation: upright as Pillow's own `exif_transpose` makes them, or raw, by what fits."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image, ImageOps, features
from PIL.PngImagePlugin import PngImageFile, PngInfo
from torchvision.transforms import functional as F

from xaibench.cards import Geometry
from xaibench.datasets.check import check_dataset
from xaibench.datasets.coco import CocoJson
from xaibench.datasets.cub import CUB
from xaibench.datasets.exif import read_header
from xaibench.datasets.folder import ImageFolder
from xaibench.datasets.funnybirds import FunnyBirds
from xaibench.datasets.imagenet import ImageNet
from xaibench.datasets.imagenet_s import ImageNetS50
from xaibench.datasets.images import read_image
from xaibench.datasets.open import open_dataset
from xaibench.datasets.pet import Pet
from xaibench.datasets.photos import UndecidedOrientation
from xaibench.datasets.voc import VOC2012
from xaibench.datasets.waterbirds import Waterbirds
from xaibench.errors import XaibenchError

GEOMETRY = Geometry(resize=16, crop=16, fit="stretch")
ORIENTATIONS = range(2, 9)
WIDE = (30, 20)  # the size in which photos are stored here


def photo(path, orientation=1, size=WIDE, **how):
    """Writes a smooth coloured photo (so that JPEG keeps it) with an orientation, and returns its path."""
    y, x = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([255 * x / size[0], 255 * y / size[1], 0 * x + 60], 2).astype(np.uint8)
    exif = Image.Exif()
    if orientation is not None:
        exif[274] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif, **how)
    return path


def upright(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def stored(path) -> np.ndarray:
    """The pixels as Pillow, and so torchvision's loaders, read them."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def displayed(pixels: np.ndarray) -> np.ndarray:
    return np.array(F.resize(Image.fromarray(pixels), [16, 16]))


SAVED = [("a.jpg", {"quality": 95}), ("a.png", {}), ("a.webp", {"lossless": True}), ("a.avif", {"quality": 90})]
SAVED = [each for each in SAVED if each[0] != "a.avif" or features.check("avif")]


@pytest.mark.parametrize(("name", "how"), SAVED, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_both_ways_of_all_orientations_and_formats(orientation, name, how, tmp_path):
    path = photo(tmp_path / name, orientation, **how)
    np.testing.assert_array_equal(read_image(path, "upright"), upright(path))
    np.testing.assert_array_equal(read_image(path), stored(path))
    header = read_header(path)
    assert header.orientation == orientation and header.shown("upright") == upright(path).shape[1::-1]
    assert header.shown("raw") == WIDE and read_header(path, path.read_bytes()) == header


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_tiff_which_pillow_turns_itself(orientation, compression, tmp_path):
    path, plain = photo(tmp_path / "a.tif", 1), photo(tmp_path / "b.png", orientation)
    with Image.open(path) as image:
        pixels = image.copy()
    pixels.save(path, tiffinfo={274: orientation}, compression=compression)
    assert read_header(path).orientation == orientation
    np.testing.assert_array_equal(read_image(path, "upright"), upright(plain))
    np.testing.assert_array_equal(read_image(path, "raw"), stored(plain))
    assert read_header(path).shown("raw") == WIDE and read_header(path).shown("upright") == upright(plain).shape[1::-1]


@pytest.mark.parametrize("orientation", [None, 0, 1, 9, 65535])
def test_other_values_are_upright(orientation, tmp_path):
    path = photo(tmp_path / "a.jpg", orientation)
    assert read_header(path).orientation == 1
    np.testing.assert_array_equal(read_image(path, "upright"), stored(path))


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0MM\0\x2a\0\0\xff\xff", b"Exif\0\0junk" * 9, b"\xff" * 50])
def test_damaged_exif_is_ignored(exif, tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("RGB", WIDE, "red").save(path, exif=exif)
    assert read_header(path).orientation == 1 and read_image(path, "upright").size == WIDE


def test_a_png_with_exif_after_its_pixels(tmp_path):
    data = photo(tmp_path / "a.png", 6).read_bytes()
    at = data.index(b"eXIf") - 4
    chunk = data[at : at + 12 + int.from_bytes(data[at : at + 4], "big")]
    rest, end = data.replace(chunk, b""), len(data) - len(chunk) - 12
    (tmp_path / "a.png").write_bytes(rest[:end] + chunk + rest[end:])
    assert read_header(tmp_path / "a.png").orientation == 6 and upright(tmp_path / "a.png").shape[:2] == WIDE


@pytest.mark.parametrize("key", ["XML:com.adobe.xmp", "Raw profile type exif"])
def test_a_png_with_the_orientation_in_a_text(key, tmp_path):
    exif = Image.Exif()
    exif[274] = 8
    profile = exif.tobytes()
    texts = PngInfo()
    if key.startswith("XML"):
        texts.add_itxt(key, '<rdf:Description tiff:Orientation="8"/>', zip=True)
    else:
        texts.add_text(key, f"\nexif\n{len(profile):8d}\n{profile.hex()}", zip=True)
    texts.add_text("Software", "of some kind")
    path = tmp_path / "a.png"
    with Image.open(photo(path)) as image:
        image.copy().save(path, pnginfo=texts)
    assert read_header(path).orientation == 8
    np.testing.assert_array_equal(read_image(path, "upright"), upright(path))


def test_the_pixels_of_a_png_without_an_orientation_are_not_decoded_for_its_header(tmp_path, monkeypatch):
    texts = PngInfo()
    texts.add_text("Software", "of some kind")
    Image.new("RGB", WIDE).save(tmp_path / "a.png", pnginfo=texts)

    decoded = []
    monkeypatch.setattr(PngImageFile, "load", lambda image: decoded.append(image))
    assert read_header(tmp_path / "a.png").size == WIDE and not decoded


def test_photos_without_annotations_are_shown_upright(tmp_path):
    path = photo(tmp_path / "ape" / "a.jpg", 6)
    photo(tmp_path / "ape" / "b.jpg")
    data, raw = ImageFolder(tmp_path, GEOMETRY), ImageFolder(tmp_path, GEOMETRY, exif="raw")
    turned = data.load("ape/a.jpg")
    np.testing.assert_array_equal(turned.image, displayed(upright(path)))
    np.testing.assert_array_equal(raw.load("ape/a.jpg").image, displayed(stored(path)))
    np.testing.assert_array_equal(data.open("ape/a.jpg"), upright(path))  # what training crops
    assert (data.placement("ape/a.jpg").width, raw.placement("ape/a.jpg").width) == (20, 30)
    assert [data.exif_way(i) for i in data.ids] == ["upright", ""] and raw.exif_way("ape/a.jpg") == "raw"


def test_the_digest_tells_a_turned_photo_from_the_stored_one_and_no_other_moves(tmp_path):
    from xaibench.hashing import content_hash

    for orientation in range(1, 9):
        photo(tmp_path / "ape" / f"{orientation}.jpg", orientation)
    data, raw = ImageFolder(tmp_path, GEOMETRY), ImageFolder(tmp_path, GEOMETRY, exif="raw")
    for image_id in data.ids:
        before = content_hash((tmp_path / image_id).read_bytes())
        assert raw.digest(image_id) == before, "as in rows of earlier versions, which showed photos raw"
        assert (data.digest(image_id) == before) == (image_id == "ape/1.jpg")
        assert data.load(image_id).digest == data.digest(image_id)


def test_imagenet_without_boxes_is_raw_as_its_published_accuracies(tmp_path):
    path = photo(tmp_path / "val" / "n01440764" / "a.JPEG", 6)
    data = ImageNet(tmp_path, GEOMETRY, "val")
    np.testing.assert_array_equal(data.load(data.ids[0]).image, displayed(stored(path)))
    assert data.exif_way(data.ids[0]) == "raw"


def xml(size, name="dog", box=(2, 2, 9, 9)) -> str:
    corners = "".join(f"<{tag}>{n}</{tag}>" for tag, n in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    listed = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    return f"<annotation>{listed}<object><name>{name}</name><bndbox>{corners}</bndbox></object></annotation>"


def voc(root, size, orientation, stored_size=WIDE, box=(2, 2, 9, 9), mask=None, **options):
    folder = root / "VOC2012"
    for kind in ("Annotations", "ImageSets/Main", "SegmentationClass"):
        (folder / kind).mkdir(parents=True)
    photo(folder / "JPEGImages" / "a.jpg", orientation, stored_size)
    (folder / "Annotations" / "a.xml").write_text(xml(size, box=box))
    (folder / "ImageSets" / "Main" / "val.txt").write_text("a\n")
    if mask:
        Image.new("P", mask).save(folder / "SegmentationClass" / "a.png")
    return VOC2012(root, GEOMETRY, **options)


def imagenet(root, size, orientation, stored_size=WIDE, box=(2, 2, 9, 9), **options):
    photo(root / "val" / "n01440764" / "a.JPEG", orientation, stored_size)
    (root / "Annotations").mkdir()
    (root / "Annotations" / "a.xml").write_text(xml(size, "n01440764", box))
    return ImageNet(root, GEOMETRY, "val", **options)


def coco(root, size, orientation, stored_size=WIDE, box=(2, 2, 9, 9), **options):
    import json

    photo(root / "images" / "a.jpg", orientation, stored_size)
    (root / "annotations").mkdir()
    x0, y0, x1, y1 = box
    (root / "annotations" / "instances.json").write_text(json.dumps({
        "categories": [{"id": 1, "name": "dog"}],
        "images": [{"id": 1, "file_name": "a.jpg", "width": (size or (0, 0))[0], "height": (size or (0, 0))[1]}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [x0 - 1, y0 - 1, x1 - x0 + 1, y1 - y0 + 1]}],
    }))  # fmt: skip
    return CocoJson(root, GEOMETRY, **options)


def pet(root, size, orientation, stored_size=WIDE, **options):
    photo(root / "images" / "Abyssinian_1.jpg", orientation, stored_size)
    (root / "annotations" / "trimaps").mkdir(parents=True)
    Image.new("L", size, 1).save(root / "annotations" / "trimaps" / "Abyssinian_1.png")
    (root / "annotations" / "test.txt").write_text("Abyssinian_1 1 1 1\n")
    return Pet(root, GEOMETRY, **options)


def imagenet_s(root, size, orientation, stored_size=WIDE, **options):
    from xaibench.datasets.imagenet import wordnet_ids

    for name in wordnet_ids()[:50]:
        (root / "validation" / name).mkdir(parents=True)
    photo(root / "validation" / "n01440764" / "a.JPEG", orientation, stored_size)
    mask = root / "validation-segmentation" / "n01440764" / "a.png"
    mask.parent.mkdir(parents=True)
    Image.new("RGB", size, (1, 0, 0)).save(mask)
    return ImageNetS50(root, GEOMETRY, **options)


def funnybirds(root, size, orientation, stored_size=WIDE, **options):
    (root / "test_part_map" / "0").mkdir(parents=True)
    photo(root / "test" / "0" / "000000.png", orientation, stored_size)
    Image.new("RGB", size, (255, 255, 0)).save(root / "test_part_map" / "0" / "000000.png")
    for name in ("classes", "dataset_test"):
        (root / f"{name}.json").write_text('[{"class_idx": 0}]')
    return FunnyBirds(root, GEOMETRY, **options)


MAKERS = [voc, imagenet, coco, pet, imagenet_s, funnybirds]
TALL = WIDE[::-1]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_annotations_decide_by_their_size(make, orientation, tmp_path):
    for size, way in ((TALL, "upright"), (WIDE, "raw")):
        data = make(tmp_path / way, size, orientation)
        (image_id,) = data.ids
        pixels = (upright if way == "upright" else stored)(data.path(image_id))
        assert data.exif_way(image_id) == way and pixels.shape[1::-1] == size
        np.testing.assert_array_equal(data.load(image_id).image, displayed(pixels))
        assert (data.placement(image_id).width, data.placement(image_id).height) == size
        assert len(data.annotate(image_id).boxes) == 1
        found = check_dataset(data, 16)
        assert found.problems == [] and found.exif == {way: 1}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("orientation", "size"), [(2, WIDE), (3, WIDE), (4, WIDE), (6, (24, 24)), (5, (24, 24))])
def test_where_both_fit_the_option_is_asked_for(make, orientation, size, tmp_path):
    data = make(tmp_path / "a", size, orientation, size)
    (image_id,) = data.ids
    for use in (data.load, data.open, data.digest, data.annotate, data.placement, data.exif_way):
        with pytest.raises(UndecidedOrientation, match=rf"orientation {orientation}, .*exif=upright\|raw") as caught:
            use(image_id)
        assert "\n" not in str(caught.value) and str(data.path(image_id)) in str(caught.value)
    found = check_dataset(data, 16)
    assert found.exif == {"undecided": 1} and found.broken == {image_id}
    images = {}
    for way, oracle in (("upright", upright), ("raw", stored)):
        chosen = make(tmp_path / way, size, orientation, size, exif=way)
        images[way] = chosen.load(image_id).image
        np.testing.assert_array_equal(images[way], displayed(oracle(chosen.path(image_id))))
        assert chosen.annotate(image_id).labels and chosen.exif_way(image_id) == way
    assert not np.array_equal(images["upright"], images["raw"])


@pytest.mark.parametrize("make", MAKERS)
def test_where_neither_fits_the_photo_is_refused(make, tmp_path):
    data = make(tmp_path, (60, 80) if make is imagenet else (15, 10), 6, (300, 200))
    with pytest.raises(XaibenchError, match=r"neither 200 x 300 pixels \(upright\) nor 300 x 200 \(as stored\)"):
        data.load(data.ids[0])


@pytest.mark.parametrize("make", [voc, imagenet, coco])
def test_without_a_size_boxes_decide_if_they_lie_in_one_of_the_two(make, tmp_path):
    data = make(tmp_path / "b", None, 6, box=(2, 2, 9, 29))
    assert data.exif_way(data.ids[0]) == "upright"
    data = make(tmp_path / "c", None, 6, box=(2, 2, 29, 9))
    assert data.exif_way(data.ids[0]) == "raw"
    data = make(tmp_path / "d", None, 6)
    with pytest.raises(UndecidedOrientation):
        data.load(data.ids[0])


def test_masks_decide_too(tmp_path):
    data = voc(tmp_path / "a", None, 6, mask=TALL)
    assert data.exif_way(data.ids[0]) == "upright"
    data = voc(tmp_path / "b", TALL, 6, mask=WIDE)
    with pytest.raises(XaibenchError, match="neither"):
        data.load(data.ids[0])


def test_a_way_that_does_not_fit_is_refused_with_the_boxes(tmp_path):
    data = voc(tmp_path, TALL, 6, exif="raw")
    with pytest.raises(XaibenchError, match=r"a\.jpg is 30 x 20 pixels, but 20 x 30 in .*a\.xml"):
        data.annotate(data.ids[0])


def test_cub_has_sizes_only_where_its_segmentations_are(cub):
    data = CUB(cub, GEOMETRY)
    image_id = data.ids[0]
    tall = data.placement(image_id).width, data.placement(image_id).height
    path = photo(data.path(image_id), 6, tall[::-1])
    assert data.exif_way(image_id) == "upright" and data.annotate(image_id).instances.any()
    np.testing.assert_array_equal(data.load(image_id).image, displayed(upright(path)))
    shutil.rmtree(cub / "segmentations")
    with pytest.raises(UndecidedOrientation):
        CUB(cub, GEOMETRY).load(image_id)
    assert CUB(cub, GEOMETRY, exif="raw").exif_way(image_id) == "raw"


def test_waterbirds_follow_the_photos_and_masks_of_cub(cub, tmp_path):
    (number, name), *_ = (line.split() for line in (cub / "images.txt").read_text().splitlines())
    with Image.open(cub / "images" / name) as original:
        size = original.size
    folder = tmp_path / "waterbird_complete95_forest2water2"
    path = photo(folder / name, 8, size[::-1])
    rows = "".join(f"{number},{name},0,{split},{place},x\n" for split, place in ((2, 0),))
    photo(folder / "train.jpg")
    header = "img_id,img_filename,y,split,place,place_filename\n"
    (folder / "metadata.csv").write_text(header + rows + "99,train.jpg,0,0,1,x\n")
    data = Waterbirds(folder, GEOMETRY)
    assert data.ids == [name] and data.exif_way(name) == "upright"
    np.testing.assert_array_equal(data.load(name).image, displayed(upright(path)))
    assert len(data.annotate(name).boxes) == 1
    photo(path, 8, size)
    assert Waterbirds(folder, GEOMETRY).exif_way(name) == "raw"
    shutil.rmtree(cub / "segmentations")
    assert Waterbirds(folder, GEOMETRY).exif_way(name) == "raw", "by the size of CUB's photo alone"
    shutil.move(cub, tmp_path / "away")
    assert Waterbirds(folder, GEOMETRY).exif_way(name) == "upright", "nothing is annotated"


@pytest.mark.parametrize(("way", "oracle"), [("upright", upright), ("raw", stored)])
def test_images_without_a_part_are_shown_as_their_original(way, oracle, tmp_path):
    data = funnybirds(tmp_path, (24, 24), 6, (24, 24), exif=way)
    path = photo(tmp_path / "test_interventions" / "0" / "000000" / "body_eye_foot_tail_wing.png", 8, (24, 24))
    np.testing.assert_array_equal(data.draw(data.ids[0], ["beak"]), displayed(oracle(path)))


def test_the_option_is_one_of_every_data_set_of_photos(tmp_path):
    from xaibench import registry

    photo(tmp_path / "ape" / "a.jpg", 6)
    card = registry.card("dataset", "imagefolder")
    assert open_dataset(card, tmp_path, {"exif": "raw"}).exif_way("ape/a.jpg") == "raw"
    with pytest.raises(XaibenchError, match="imagefolder: exif 'rwa' is unknown; did you mean raw"):
        open_dataset(card, tmp_path, {"exif": "rwa"})


def test_other_data_sets_hand_the_orientation_on(tmp_path):
    from xaibench import registry
    from xaibench.datasets.wrapped import Wrapped

    photo(tmp_path / "ape" / "a.jpg", 6)
    data = open_dataset(registry.card("dataset", "imagefolder"), tmp_path, {"red_dot": "ape"})
    assert isinstance(data, Wrapped) and data.exif_way("ape/a.jpg") == "upright"
