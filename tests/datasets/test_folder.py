"""Photos in class folders: labels, ids, geometry, one order for all, and photos that cannot be read."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from xaibench import registry
from xaibench.cards import Geometry
from xaibench.datasets.base import Dataset
from xaibench.datasets.folder import ImageFolder
from xaibench.datasets.imagenet import ImageNet, class_names, wordnet_ids
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError

GEOMETRY = Geometry(resize=16, crop=12)


@pytest.fixture
def folder(tmp_path):
    """folder("cat/1.png", ...): a root with such photos, 20 x 30 pixels of noise."""

    def make(*ids: str):
        for number, image_id in enumerate(ids):
            path = tmp_path / "root" / image_id
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
        return tmp_path / "root"

    return make


def test_classes_are_the_folders_in_alphabetical_order(folder):
    root = folder("zebra/b.png", "ape/c.JPG", "ape/deep/a.webp", "bee/d.bmp")
    (root / "ape" / "notes.txt").write_text("no photo")
    (root / ".hidden").mkdir()
    (root / "empty").mkdir()
    data = ImageFolder(root, GEOMETRY)
    assert list(data.classes) == ["ape", "bee", "empty", "zebra"]
    assert {i: data.label(i) for i in data.ids} == {
        "ape/c.JPG": 0, "ape/deep/a.webp": 0, "bee/d.bmp": 1, "zebra/b.png": 3,
    }  # fmt: skip
    assert all(data.load(i).label == data.label(i) for i in data.ids)


def test_ids_are_posix_paths_below_the_root_with_the_split(folder):
    root = folder("val/ape/a.png", "train/ape/b.png", "train/bee/c.png")
    assert ImageFolder(root, GEOMETRY, "val").ids == ["val/ape/a.png"]
    assert ImageFolder(root, GEOMETRY, "train").ids == ["train/ape/b.png", "train/bee/c.png"]
    assert ImageFolder(root / "val", GEOMETRY, "val").ids == ["ape/a.png"], "root is the split itself"


@pytest.mark.parametrize("size", [(20, 30), (30, 20), (400, 90)])
def test_photos_are_resized_on_the_shorter_side_and_cropped_in_the_centre(size, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    (tmp_path / "ape").mkdir()
    Image.fromarray(pixels).save(tmp_path / "ape" / "a.png")
    sample = ImageFolder(tmp_path, GEOMETRY).load("ape/a.png")
    height, width = (16, int(16 * size[1] / size[0])) if size[0] <= size[1] else (int(16 * size[0] / size[1]), 16)
    resized = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
    top, left = round((height - 12) / 2), round((width - 12) / 2)
    np.testing.assert_array_equal(sample.image, resized[top : top + 12, left : left + 12])
    assert sample.image.dtype == np.uint8
    digest = hashlib.blake2b((tmp_path / "ape" / "a.png").read_bytes(), digest_size=10).hexdigest()
    assert sample.digest == digest == ImageFolder(tmp_path, GEOMETRY).digest("ape/a.png")


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_eight_bit_modes_become_rgb(mode, tmp_path):
    (tmp_path / "ape").mkdir()
    path = tmp_path / "ape" / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new("RGB", (20, 20), "red").convert(mode).save(path)
    assert ImageFolder(tmp_path, GEOMETRY).load(f"ape/{path.name}").image.shape == (12, 12, 3)


def test_imagenets_labels_come_from_the_wordnet_id_not_from_the_position(folder):
    root = folder("val/n15075141/a.png", "val/n01443537/b.png", "val/n02123045/c.png")
    data = ImageNet(root, GEOMETRY, "val")
    assert {i.split("/")[1]: data.label(i) for i in data.ids} == {"n01443537": 1, "n02123045": 281, "n15075141": 999}
    assert len(data.classes) == 1000 and data.classes[281] == "tabby" and data.classes[1] == "goldfish"


def test_the_thousand_classes_are_imagenets():
    import torchvision

    ids = wordnet_ids()
    assert len(set(ids)) == 1000 and list(ids) == sorted(ids) and ids[0] == "n01440764"
    theirs = torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"]
    same = sum(
        a.lower().replace("-", " ") == b.lower().replace("-", " ") for a, b in zip(class_names(), theirs, strict=True)
    )
    assert same > 950


@pytest.mark.parametrize(
    ("ids", "kind", "message"),
    [
        (["val/cats/a.png", "val/n01440764/b.png"], ImageNet, "has the folder 'cats', which is no WordNet id"),
        (["val/n99999999/a.png"], ImageNet, "has the folder 'n99999999'.*use --dataset imagefolder"),
        (["a.png"], ImageFolder, r"has no class folders; photos belong in .*/CLASS/"),
    ],
)
def test_strange_folders_are_refused(ids, kind, message, folder):
    with pytest.raises(XaibenchError, match=message):
        kind(folder(*ids), GEOMETRY, "val")


def test_folders_without_photos_and_roots_that_do_not_exist(tmp_path):
    (tmp_path / "ape").mkdir()
    (tmp_path / "ape" / "a.txt").write_text("words")
    with pytest.raises(XaibenchError, match="has class folders but no photos in them"):
        ImageFolder(tmp_path, GEOMETRY)
    with pytest.raises(XaibenchError, match="nowhere is not a folder"):
        ImageFolder(tmp_path / "nowhere", GEOMETRY)


def cut(path):
    path.write_bytes(path.read_bytes()[:400])


def deep(path):
    Image.fromarray(np.zeros((20, 20), np.uint16)).save(path)


def deep_rgb(path):
    """A PNG with three channels of 16 bits, which Pillow cannot write itself."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(20 * 6) for _ in range(20))
    header = struct.pack(">IIBBBBB", 20, 20, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut, "cannot be read as an image"),
        (lambda path: path.write_bytes(b""), "cannot be read as an image"),
        (lambda path: path.write_bytes(b"<html>"), "cannot be read as an image"),
        (lambda path: path.unlink(), "cannot be read"),
        (deep, "has 16 bits a channel; convert it to 8-bit RGB"),
        (deep_rgb, "has 16 bits a channel; convert it to 8-bit RGB"),
    ],
)
def test_photos_that_cannot_be_read_are_errors_with_their_path(spoil, message, folder):
    root = folder("ape/bad.png", "ape/good.png")
    data = ImageFolder(root, GEOMETRY)
    spoil(root / "ape" / "bad.png")
    with pytest.raises(XaibenchError, match=message) as caught:
        data.load("ape/bad.png")
    assert str(root / "ape" / "bad.png") in str(caught.value)
    assert data.load("ape/good.png").image.shape == (12, 12, 3)


@pytest.mark.parametrize("image_id", ["ape/b.png", "../root/ape/a.png", "/etc/passwd"])
def test_ids_that_are_not_of_the_data_set_are_refused(image_id, folder):
    data = ImageFolder(folder("ape/a.png"), GEOMETRY)
    with pytest.raises(XaibenchError, match="has no photo"):
        data.load(image_id)


class Names(Dataset):
    """Ids without images."""

    def __init__(self, ids):
        self.ids = ids

    def load(self, image_id):
        raise NotImplementedError

    digest = load


IDS = st.sets(st.text("abc/", min_size=1, max_size=6), min_size=1, max_size=30)


@settings(max_examples=50, deadline=None)
@given(IDS, st.data())
def test_the_order_of_images_is_one_and_shorter_lists_are_its_prefixes(ids, data):
    shuffled = Names(sorted(ids)).image_list()
    assert sorted(shuffled) == sorted(ids)
    count = data.draw(st.integers(0, len(ids)))
    assert Names(sorted(ids)).image_list(count) == shuffled[:count]
    assert Names(sorted(ids, key=lambda _: random.random())).image_list() == shuffled
    fewer = data.draw(st.sets(st.sampled_from(sorted(ids))))
    assert Names(fewer).image_list() == [i for i in shuffled if i in fewer], "images do not move each other"


def test_the_order_mixes_classes():
    ids = [f"{c}/{n}.png" for c in range(10) for n in range(100)]
    first = [int(i.split("/")[0]) for i in Names(ids).image_list(200)]
    assert min(np.bincount(first, minlength=10)) >= 8


def test_cards_open_their_data_sets(folder):
    root = folder("val/n01443537/a.png")
    data = open_dataset(registry.card("dataset", "imagenet"), root, {})
    assert data.ids == ["val/n01443537/a.png"] and data.load(data.ids[0]).image.shape == (224, 224, 3)
    assert open_dataset(registry.card("dataset", "imagefolder"), root, {"split": "val"}).classes == ["n01443537"]
    with pytest.raises(XaibenchError, match="data set imagenet needs --data-root"):
        open_dataset(registry.card("dataset", "imagenet"), None, {})
    with pytest.raises(XaibenchError, match="data set imagefolder has no option 'rule'; it has exif, split"):
        open_dataset(registry.card("dataset", "imagefolder"), root, {"rule": "background"})


@pytest.mark.parametrize("name", ["critters", "critters-spurious", "red-dot"])
def test_a_root_is_taken_by_data_sets_of_files_alone(name, tmp_path):
    """Who forgets --dataset would otherwise evaluate drawn images in place of the photos."""
    card = registry.card("dataset", name)
    assert open_dataset(card, None, {}).ids
    with pytest.raises(
        XaibenchError, match=f"data set {name} reads no folder; leave out --data-root, or name the data"
    ):
        open_dataset(card, tmp_path, {})


@pytest.mark.slow
def test_the_trained_squeezenet_gets_183_of_300_real_photos_right(real):
    from xaibench.cards import DatasetCard
    from xaibench.models.open import build_model, load_weights, model_card
    from xaibench.models.state import read_state

    card: DatasetCard = registry.card("dataset", "imagenet")
    data = open_dataset(card, real / "imagenet_sample", {})
    names = model_card("squeezenet1_0")
    model = build_model(names, 1000, card.geometry)
    load_weights(model, read_state(real / "weights" / "squeezenet1_0_imagenet.safetensors"), "plain", names)
    model.freeze("cpu", torch.float32)
    right = 0
    for start in range(0, len(data.ids), 20):
        samples = [data.load(i) for i in data.ids[start : start + 20]]
        with torch.no_grad():
            predicted = model.net(model.encoding(np.stack([s.image for s in samples]))).argmax(1)
        right += sum(int(p) == s.label for p, s in zip(predicted, samples, strict=True))
    assert len(data.ids) == 300 and right == 183
