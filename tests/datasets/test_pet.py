"""Oxford-IIIT Pet against torchvision's own reader, and trimaps with their undecided outlines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import OxfordIIITPet

from xaibench import registry
from xaibench.cards import Geometry
from xaibench.datasets.open import open_dataset
from xaibench.datasets.pet import Pet
from xaibench.errors import XaibenchError

GEOMETRY = Geometry(resize=32, crop=24)
BREEDS = (("Abyssinian", 1), ("american_bulldog", 2), ("shiba_inu", 2))


def trimap(number: int) -> np.ndarray:
    """(36, 50): a pet of 14 x 20 pixels with an undecided rim of one pixel."""
    values = np.full((36, 50), 2, np.uint8)
    values[6:22, 4 + number : 26 + number] = 3
    values[7:21, 5 + number : 25 + number] = 1
    return values


@pytest.fixture
def pets(tmp_path) -> Path:
    """oxford-iiit-pet with three breeds and six photos of each, half of them in test.txt."""
    root, random = tmp_path / "oxford-iiit-pet", np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    (root / "annotations" / "trimaps").mkdir(parents=True)
    for position, (breed, species) in enumerate(BREEDS):
        for number in range(6):
            name = f"{breed}_{number}"
            pixels = random.integers(0, 256, (36, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / f"{name}.jpg")
            Image.fromarray(trimap(number)).save(root / "annotations" / "trimaps" / f"{name}.png")
            with (root / "annotations" / ("test.txt" if number % 2 else "trainval.txt")).open("a") as file:
                file.write(f"{name} {position + 1} {species} 1\n")
    return root


@pytest.mark.parametrize("split", ["trainval", "test"])
def test_it_reads_what_torchvision_reads(split, pets, theirs):
    data = Pet(pets, GEOMETRY, split)
    reference = OxfordIIITPet(pets.parent, split, ["category", "binary-category", "segmentation"])
    species = Pet(pets.parent, GEOMETRY, split, task="species")
    assert list(data.classes) == reference.classes == ["Abyssinian", "American Bulldog", "Shiba Inu"]
    assert list(species.classes) == ["cat", "dog"] and len(data.ids) == len(reference) == 9
    for image_id, (photo, (label, kind, mask)) in zip(data.ids, reference, strict=True):
        known, sample, values = data.annotate(image_id), data.load(image_id), np.array(mask)
        assert (sample.label, species.label(image_id)) == (label, kind)
        np.testing.assert_array_equal(sample.image, theirs(np.array(photo), 32, 24))
        np.testing.assert_array_equal(known.instances, theirs(values == 1, 32, 24)[None])
        np.testing.assert_array_equal(known.ignored, theirs(values == 3, 32, 24))
        assert not (known.ignored & known.instances[0]).any() and known.ignored.any()


def test_the_box_is_the_tight_one_of_the_pets_pixels(pets):
    data = Pet(pets, Geometry(resize=36, crop=36))
    for image_id in data.ids:
        number, shift = int(image_id[-1]), (50 - 36) // 2
        box = data.annotate(image_id).boxes
        assert box.tolist() == [[max(5 + number - shift, 0), 7, 25 + number - shift, 21]]


def test_a_trimap_without_a_pet_has_neither_box_nor_mask(pets):
    data = Pet(pets, GEOMETRY)
    Image.fromarray(np.full((36, 50), 2, np.uint8)).save(pets / "annotations" / "trimaps" / f"{data.ids[0]}.png")
    known = data.annotate(data.ids[0])
    assert known.boxes.shape == (0, 4) and known.instances.shape == (0, 24, 24) and len(known.box_labels) == 0


def test_train_and_val_part_trainval(pets, monkeypatch):
    monkeypatch.setattr("xaibench.datasets.reading.HELD_OUT", 3)
    train, val = (Pet(pets, GEOMETRY, split) for split in ("train", "val"))
    assert train.ids and val.ids and not set(train.ids) & set(val.ids) and train.classes == val.classes
    assert {*train.ids, *val.ids} == set(Pet(pets, GEOMETRY, "trainval").ids)


def test_digests_notice_a_changed_trimap(pets):
    data = Pet(pets, GEOMETRY)
    before = data.digest(data.ids[0])
    Image.fromarray(trimap(9)).save(pets / "annotations" / "trimaps" / f"{data.ids[0]}.png")
    assert before != data.digest(data.ids[0]) == data.load(data.ids[0]).digest


def test_the_card_opens_it(pets):
    data = open_dataset(registry.card("dataset", "pet"), pets.parent, {"task": "species"}, "validation")
    assert list(data.classes) == ["cat", "dog"]
    assert [piece.count for piece in data.pieces()] == [len(data.ids), 18]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("test.txt", "Abyssinian_1 1 1 1", "Abyssinian_1 1 1", r"test.txt:1: 3 columns, not 4: name, class id"),
        ("test.txt", "Abyssinian_3", "Abyssinian_1", r"test.txt:2: name Abyssinian_1 is listed twice"),
        ("test.txt", "Abyssinian_3", "Abyssinian_9", r"test.txt lists 1 of 9 .*Abyssinian_9.jpg"),
        ("test.txt", "Abyssinian_3 1", "Abyssinian_3 cat", r"the class of Abyssinian_3 is 'cat', not 1 to 999"),
        ("test.txt", "Abyssinian_3 1", "Abyssinian_3 2", r"class 2 is \w+ ?\w* in one line of the lists, \w+"),
        ("trainval.txt", "shiba_inu_0 3", "shiba_inu_0 5", r"no line of the lists has class 4, but one has 5"),
    ],
)
def test_lists_that_do_not_fit_are_one_line(file, old, new, message, pets):
    path = pets / "annotations" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(XaibenchError, match=message) as caught:
        Pet(pets, GEOMETRY)
    assert "\n" not in str(caught.value)


def test_a_species_that_is_none(pets):
    path = pets / "annotations" / "test.txt"
    path.write_text(path.read_text().replace("Abyssinian_1 1 1", "Abyssinian_1 1 3"))
    with pytest.raises(XaibenchError, match=r"test.txt: the species of Abyssinian_1 is '3', not 1 or 2"):
        Pet(pets, GEOMETRY, task="species")


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((50, 36), 1, np.uint8), "is 36 x 50 pixels, its photo 50 x 36"),
        (np.zeros((36, 50), np.uint8), "has the value 0; 1 is the pet, 2 background, 3 undecided"),
        (np.zeros((36, 50, 3), np.uint8), "has the mode RGB"),
    ],
)
def test_trimaps_that_are_none_are_one_line(pixels, message, pets):
    data = Pet(pets, GEOMETRY)
    path = pets / "annotations" / "trimaps" / f"{data.ids[0]}.png"
    Image.fromarray(pixels).save(path)
    with pytest.raises(XaibenchError, match=f"trimap {path} {message}"):
        data.annotate(data.ids[0])


def test_folders_and_options_that_are_none(pets, tmp_path):
    with pytest.raises(XaibenchError, match=r"has no annotations/test.txt, nor oxford-iiit-pet/annotations/test.txt"):
        Pet(pets / "images", GEOMETRY)
    with pytest.raises(XaibenchError, match=r"pet: task 'breeds' is unknown; did you mean breed\?"):
        Pet(pets, GEOMETRY, task="breeds")
    with pytest.raises(XaibenchError, match=r"nowhere is not a folder"):
        Pet(tmp_path / "nowhere", GEOMETRY)


def test_a_download_that_fails_is_one_line(monkeypatch, tmp_path, capsys):
    def refuse(*_, **__):
        print("Downloading")
        raise OSError("no\nnetwork")

    monkeypatch.setattr("torchvision.datasets.oxford_iiit_pet.download_and_extract_archive", refuse)
    with pytest.raises(XaibenchError, match=r"^data set pet could not be fetched: no network$"):
        Pet.download(tmp_path)
    assert capsys.readouterr().out == ""
