"""FunnyBirds: parts by the colours of their map, images without a part, and part deletion through a run."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import xaibench
from xaibench.cards import Geometry
from xaibench.datasets.funnybirds import PARTS, FunnyBirds
from xaibench.errors import XaibenchError

SIDE = 40
SAME = Geometry(resize=SIDE, crop=SIDE)
# name in the map, colour there, colour in the image, rows and columns
DRAWN = (
    ("body", (170, 170, 170), (120, 120, 120), slice(12, 30), slice(10, 30)),
    ("beak", (255, 255, 0), (250, 250, 0), slice(14, 18), slice(30, 36)),
    ("eye", (255, 255, 253), (255, 255, 255), slice(13, 16), slice(24, 27)),
    ("eye", (255, 255, 254), (255, 255, 255), slice(13, 16), slice(20, 23)),
    ("foot", (255, 0, 1), (200, 180, 0), slice(30, 35), slice(14, 17)),
    ("foot", (255, 0, 2), (200, 180, 0), slice(30, 35), slice(20, 23)),
    ("tail", (0, 0, 255), (200, 0, 0), slice(16, 22), slice(3, 10)),
    ("wing", (0, 255, 1), (0, 180, 0), slice(18, 26), slice(12, 20)),
)
CARD = """
title = "A few FunnyBirds"
target = "xaibench.datasets.funnybirds:FunnyBirds"
parameters = { split = "test" }
train_parameters = { split = "trainval" }
validation_parameters = { split = "trainval" }
geometry = { resize = 40, crop = 40 }

[recipe]
start = "scratch"
epochs = 1
batch_size = 8
learning_rate = 0.05
augmentation = "flip"
"""


def bird(without=(), background=0, mapped=False) -> Image.Image:
    """An image or its part map, RGBA as the data set's files are."""
    pixels = np.full((SIDE, SIDE, 4), 255, np.uint8)
    pixels[..., :3] = (204, 204, 204 + background) if mapped else (60 + 10 * background, 90, 150)
    for name, colour, shown, rows, columns in DRAWN:
        if name not in without:
            pixels[rows, columns, :3] = colour if mapped else shown
    return Image.fromarray(pixels)


@pytest.fixture
def funny(tmp_path) -> Path:
    """FunnyBirds with two classes, three test and four training images each; those of class 1 have no tail."""
    root = tmp_path / "FunnyBirds"
    for mode, count in (("test", 6), ("train", 8)):
        for number in range(count):
            label = number * 2 // count
            gone = ("tail",) if label else ()
            files = {f"{mode}/{label}/{number:06d}": bird(gone, number)}
            if mode == "test":
                files[f"test_part_map/{label}/{number:06d}"] = bird(gone, number, mapped=True)
                for size, folder in ((4, f"test_interventions/{label}/{number:06d}"),):
                    for left in (*itertools.combinations(PARTS, size), ("foot", "wing"), ()):
                        removed = set(PARTS) - set(left)
                        files[f"{folder}/body_{'_'.join(left)}"] = bird({*removed, *gone}, number)
            for name, image in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                image.save(root / f"{name}.png")
        entries = [{"class_idx": number * 2 // count, "beak_model": "beak01.glb"} for number in range(count)]
        (root / f"dataset_{mode}.json").write_text(json.dumps(entries))
    kinds = [{"class_idx": k, "parts": dict.fromkeys(PARTS, k)} for k in range(2)]
    (root / "classes.json").write_text(json.dumps(kinds))
    (root / "parts.json").write_text("{}")
    return root


def region(name: str) -> np.ndarray:
    """(SIDE, SIDE) bool: the visible pixels of a part of a whole bird, counted from what covers it."""
    owner = np.full((SIDE, SIDE), "", dtype=object)
    for part, _, _, rows, columns in DRAWN:
        owner[rows, columns] = part
    return owner == name


def test_ids_labels_and_images_are_those_of_the_json(funny):
    data = FunnyBirds(funny.parent, SAME)
    assert data.ids == [f"test/{n // 3}/{n:06d}.png" for n in range(6)] and list(data.classes) == ["bird 0", "bird 1"]
    assert [data.label(i) for i in data.ids] == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(data.load(data.ids[1]).image, np.array(bird(background=1))[..., :3])
    assert len(FunnyBirds(funny, SAME, "trainval").ids) == 8


def test_parts_are_the_pixels_of_their_colours_and_the_bird_has_a_body_too(funny):
    data = FunnyBirds(funny, SAME)
    known = data.annotate("test/0/000002.png")
    assert sorted(known.parts) == sorted(PARTS)
    for part in PARTS:
        np.testing.assert_array_equal(known.parts[part], region(part), err_msg=part)
    np.testing.assert_array_equal(known.instances[0], region("") ^ True)
    assert known.boxes.tolist() == [[3, 12, 36, 35]] and known.box_labels.tolist() == [0]
    assert sorted(data.annotate("test/1/000003.png").parts) == ["beak", "eye", "foot", "wing"], "no tail is there"


def test_parts_are_placed_as_torchvision_does(funny, theirs):
    known = FunnyBirds(funny, Geometry(resize=24, crop=20)).annotate("test/0/000000.png")
    for part in PARTS:
        np.testing.assert_array_equal(known.parts[part], theirs(region(part), 24, 20), err_msg=part)


def test_images_without_parts_are_those_of_the_interventions(funny):
    data = FunnyBirds(funny, SAME)
    image_id = data.ids[2]
    np.testing.assert_array_equal(data.draw(image_id), data.load(image_id).image)
    for without in ("beak", ("eye",), ("beak", "eye", "tail"), PARTS):
        names = {without} if isinstance(without, str) else set(without)
        np.testing.assert_array_equal(data.draw(image_id, without), np.array(bird(names, 2))[..., :3])
    with pytest.raises(XaibenchError, match=r"funnybirds: part 'beek' is unknown; did you mean beak or eye\?"):
        data.draw(image_id, ["beek"])
    with pytest.raises(XaibenchError, match=r"without beak and eye does not exist: .*/000002/body_foot_tail_wing.png$"):
        data.draw(image_id, ["eye", "beak"])
    Image.new("RGB", (30, 30)).save(funny / "test_interventions/0/000002/body_beak_eye_foot_tail.png")
    with pytest.raises(XaibenchError, match=r"_eye_foot_tail.png is 30 x 30 pixels, test/0/000002.png 40 x 40"):
        data.draw(image_id, ["wing"])


def test_digests_notice_a_changed_map_or_image_without_a_part(funny):
    data = FunnyBirds(funny, SAME)
    seen = {data.digest(data.ids[0])}
    bird(("beak",), mapped=True).save(funny / "test_part_map/0/000000.png")
    seen.add(data.digest(data.ids[0]))
    bird(PARTS).save(funny / "test_interventions/0/000000/body_beak_eye_foot_tail.png")
    assert len(seen | {data.digest(data.ids[0])}) == 3 and data.load(data.ids[0]).digest == data.digest(data.ids[0])


def test_part_deletion_runs_through_a_run(funny, home, monkeypatch, tmp_path):
    monkeypatch.setenv("XAIBENCH_HOME", str(tmp_path / "own"))
    cards = tmp_path / "cards"
    for kind, name, text in (
        ("datasets", "funny", CARD),
        ("models", "tiny", (home / "cards" / "models" / "tiny.toml").read_text()),
    ):
        (cards / kind).mkdir(parents=True)
        (cards / kind / f"{name}.toml").write_text(text)
    results = xaibench.run(
        "part-deletion,epg,x-seg-epg,obey", model="tiny", dataset="funny", data_root=funny, cards=[cards],
        methods="ixg,grad-cam,oracle", weights="plain", quiet=True,
    )  # fmt: skip
    rows = results.rows.query("protocol == 'part-deletion' and metric != 'rho-scaled'")
    oracle = rows.query("method == 'oracle' and status == 'ok'")
    assert len(oracle) == 6 and oracle["score"].min() > 0.99, "the drops themselves rank the parts as the drops do"
    assert set(results.rows["protocol"]) == {"part-deletion", "epg", "x-seg-epg", "obey"}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("classes.json", None, r"has no classes.json, nor FunnyBirds/classes.json"),
        ("classes.json", '[{"class_idx": 1}]', r"classes.json: class_idx does not count from 0"),
        ("classes.json", '{"0": 1}', r"classes.json is no list of entries with a class_idx"),
        ("dataset_test.json", None, r"dataset_test.json cannot be read: No such file"),
        ("dataset_test.json", "[", r"dataset_test.json is no JSON: Expecting value"),
        ("dataset_test.json", '[{"class_idx": 5}]', r"dataset_test.json: entry 0 has the class_idx 5, not"),
        ("dataset_test.json", '["a"]', r"dataset_test.json: entry 0 has the class_idx None"),
        ("dataset_test.json", '[{"class_idx": 1}]', r"dataset_test.json lists 1 of 1 .*test/1/000000.png"),
    ],
)
def test_json_that_does_not_fit_is_one_line(file, text, message, funny):
    (funny / file).unlink() if text is None else (funny / file).write_text(text)
    with pytest.raises(XaibenchError, match=message) as caught:
        FunnyBirds(funny, SAME)
    assert "\n" not in str(caught.value)


def test_part_maps_that_are_none_are_one_line(funny):
    data, path = FunnyBirds(funny, SAME), funny / "test_part_map/0/000000.png"
    for image, message in (
        (Image.new("RGB", (40, 40)), "has none of the colours of parts"),
        (Image.new("RGB", (41, 40)), "is 41 x 40 pixels, its image 40 x 40"),
    ):
        image.save(path)
        with pytest.raises(XaibenchError, match=f"part map {path} {message}"):
            data.annotate(data.ids[0])
    path.write_text("x")
    with pytest.raises(XaibenchError, match=f"part map {path} cannot be read as an image"):
        data.annotate(data.ids[0])
    path.unlink()
    with pytest.raises(XaibenchError, match=f"part map {path} cannot be read as an image"):
        data.annotate(data.ids[0])
    with pytest.raises(XaibenchError, match=r"has no image 'test/0/000099.png' in this split"):
        data.annotate("test/0/000099.png")
