"""Miniatures of the layouts that the pages' full-scale commands read: drawn photos of 40 x 32 pixels."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WIDTH, HEIGHT = 40, 32
BOX = (8, 6, 30, 26)  # of every object, as x0, y0, x1, y1
SPECIES = ("001.Black_footed_Albatross", "002.Laysan_Albatross")


@pytest.fixture(scope="session")
def roots(tmp_path_factory) -> dict[str, Path]:
    """The placeholders of the pages (VOC, COCO, WATERBIRDS, INS, DATA) with a folder for each."""
    return make_roots(tmp_path_factory.mktemp("miniatures"))


def make_roots(top: Path) -> dict[str, Path]:
    """Makes every miniature below a folder."""
    folders = {name: top / name for name in ("VOC", "COCO", "WATERBIRDS", "INS", "DATA")}
    make_voc(folders["VOC"], 2007)
    make_coco(folders["COCO"])
    make_waterbirds(folders["WATERBIRDS"])
    make_imagenet_s(folders["INS"])
    make_voc(folders["DATA"], 2012)
    make_pet(folders["DATA"])
    make_cub(folders["DATA"])
    make_mnist(folders["DATA"])
    return folders


def photo(path: Path, number: int, kind: int = 0) -> None:
    """A noisy photo, a rectangle in the box, whose colour tells the kind."""
    pixels = np.random.default_rng(number).integers(0, 90, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    x0, y0, x1, y1 = BOX
    pixels[y0:y1, x0:x1, kind % 3] += 150
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def mask(path: Path, inside: int | tuple, outside: int | tuple = 0, palette: bool = False) -> None:
    """A file of values, one in the box, the other outside."""
    values = np.empty((HEIGHT, WIDTH, len(inside)) if isinstance(inside, tuple) else (HEIGHT, WIDTH), np.uint8)
    values[:] = outside
    values[BOX[1] : BOX[3], BOX[0] : BOX[2]] = inside
    image = Image.fromarray(values)
    if palette:
        image = Image.frombytes("P", image.size, values.tobytes())
        image.putpalette([n for label in range(256) for n in (label, 255 - label, label // 2)])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def make_voc(root: Path, year: int) -> None:
    """Twelve photos to train, eight to validate, six to test; every second has a second class, all have class masks."""
    from xaibench.datasets.voc_xml import CLASSES

    folder, number = root / "VOCdevkit" / f"VOC{year}", 0
    for split, count in (("train", 12), ("val", 8), ("test", 6)):
        names = []
        for _ in range(count):
            number += 1
            names.append(f"{number:06d}")
            kinds = [number % 3, 5 + number % 3][: 1 + number % 2]
            corners = [(BOX[0] + 1, BOX[1] + 1, BOX[2], BOX[3]), (1, 1, 7, 9)]
            listed = "".join(
                f"<object><name>{CLASSES[kind]}</name><difficult>0</difficult><bndbox><xmin>{x0}</xmin>"
                f"<ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
                for kind, (x0, y0, x1, y1) in zip(kinds, corners, strict=False)
            )
            size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
            photo(folder / "JPEGImages" / f"{names[-1]}.jpg", number, kinds[0])
            mask(folder / "SegmentationClass" / f"{names[-1]}.png", kinds[0] + 1, palette=True)
            annotations = folder / "Annotations" / f"{names[-1]}.xml"
            annotations.parent.mkdir(exist_ok=True)
            annotations.write_text(f"<annotation>{size}{listed}</annotation>")
        for kind in ("Main", "Segmentation"):
            path = folder / "ImageSets" / kind / f"{split}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{name}\n" for name in names))


def make_coco(root: Path) -> None:
    """Sixty training photos, of which a tenth validates, and six test photos; boxes and run lengths."""
    x0, y0, x1, y1 = BOX
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[y0:y1, x0:x1] = True
    flat = np.concatenate([[False], inside.T.ravel()])
    counts = np.diff([0, *np.flatnonzero(np.diff(flat)), inside.size]).tolist()
    categories = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}, {"id": 90, "name": "toothbrush"}]
    for part, count in (("train2014", 60), ("val2014", 6)):
        images, annotations = [], []
        for number in range(1, count + 1):
            name, kind = f"COCO_{part}_{number:012d}.jpg", number % 3
            photo(root / part / name, number, kind)
            images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
            annotations.append({
                "id": number, "image_id": number, "category_id": categories[kind]["id"], "iscrowd": 0, "area": 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": {"size": [HEIGHT, WIDTH], "counts": counts},
            })  # fmt: skip
        path = root / "annotations" / f"instances_{part}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def make_cub(root: Path, count: int = 40) -> list[str]:
    """CUB_200_2011 of two species, the names of its photos; half of each are training photos."""
    folder, names, tables = root / "CUB_200_2011", [], {}
    for number in range(1, count + 1):
        species = SPECIES[number % 2]
        names.append(f"{species}/{species[4:]}_{number:04d}.jpg")
        photo(folder / "images" / names[-1], number, number % 2)
        mask((folder / "segmentations" / names[-1]).with_suffix(".png"), 255)
        x0, y0, x1, y1 = BOX
        for file, words in (
            ("images", names[-1]),
            ("image_class_labels", number % 2 + 1),
            ("train_test_split", int(number <= count * 3 // 4)),
            ("bounding_boxes", f"{x0}.0 {y0}.0 {x1 - x0}.0 {y1 - y0}.0"),
        ):
            tables.setdefault(file, []).append(f"{number} {words}\n")
    tables["classes"] = [f"{n} {species}\n" for n, species in enumerate(SPECIES, 1)]
    for file, lines in tables.items():
        (folder / f"{file}.txt").write_text("".join(lines))
    return names


def make_waterbirds(root: Path) -> None:
    """Waterbirds-100 beside its CUB: 24 training and 8 validation photos of G1 and G4, 8 test photos of all groups."""
    names, lines = make_cub(root), ["img_id,img_filename,y,split,place,place_filename\n"]
    folder = root / "waterbird_1.0_forest2water2"
    for number, name in enumerate(names, 1):
        split = 0 if number <= 24 else 1 if number <= 32 else 2
        bird = number % 2
        place = bird if split < 2 else number // 2 % 2
        photo(folder / name, number, bird)
        lines.append(f"{number},{name},{bird},{split},{place},/{'bo'[place]}/x/{number}.jpg\n")
    (folder / "metadata.csv").write_text("".join(lines))


def make_imagenet_s(root: Path) -> None:
    """ImageNetS50: a training photo of eight of its classes, validation photos with masks of four."""
    from xaibench.datasets.imagenet import wordnet_ids

    folder, ids = root / "ImageNetS50", [wordnet_ids()[index] for index in np.linspace(3, 997, 50).astype(int)]
    for position, name in enumerate(ids):
        for split in ("train", "validation", "train-semi", "test"):
            (folder / split / name).mkdir(parents=True)
        if position < 8:
            photo(folder / "train" / name / f"{name}_1.JPEG", position, position)
        if position < 4:
            shown = f"ILSVRC2012_val_0000000{position}"
            photo(folder / "validation" / name / f"{shown}.JPEG", 99 + position, position)
            # a second class around the box: MOSU has no score for images with one
            mask(folder / "validation-segmentation" / name / f"{shown}.png", (position + 1, 0, 0), (position + 9, 0, 0))


def make_pet(root: Path) -> None:
    """oxford-iiit-pet with two breeds of twenty photos each, half of them in test.txt."""
    folder = root / "oxford-iiit-pet"
    for position, (breed, species) in enumerate((("Abyssinian", 1), ("shiba_inu", 2))):
        for number in range(20):
            name = f"{breed}_{number}"
            photo(folder / "images" / f"{name}.jpg", number, position)
            mask(folder / "annotations" / "trimaps" / f"{name}.png", 1, 2)
            with (folder / "annotations" / ("test.txt" if number % 2 else "trainval.txt")).open("a") as file:
                file.write(f"{name} {position + 1} {species} 1\n")


def make_mnist(root: Path) -> None:
    """MNIST/raw: 40 training and 8 test digits, each a bar."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for stem, count in (("train", 40), ("t10k", 8)):
        digits = np.zeros((count, 28, 28), np.uint8)
        for number in range(count):
            digits[number, 4:20, 2 * (number % 10) : 2 * (number % 10) + 5] = 200
        for kind, array in (("images-idx3", digits), ("labels-idx1", np.arange(count, dtype=np.uint8) % 10)):
            head = struct.pack(f">BBBB{array.ndim}i", 0, 0, 8, array.ndim, *array.shape)
            (raw / f"{stem}-{kind}-ubyte").write_bytes(head + array.tobytes())


@pytest.fixture
def miniature_cifar100(tmp_path, monkeypatch) -> Path:
    """cifar-100-python of 40 training and 5 test images, whose MD5 sums torchvision takes for the published ones."""
    import hashlib
    import pickle

    from torchvision.datasets import CIFAR100

    folder, random = tmp_path / "cifar-100-python", np.random.default_rng(0)
    folder.mkdir()
    for name, count in (("train", 40), ("test", 5)):
        made = {
            "data": random.integers(0, 256, (count, 3072), dtype=np.uint8), "fine_labels": list(range(count)),
        }  # fmt: skip
        (folder / name).write_bytes(pickle.dumps(made))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"class {n}" for n in range(100)]}))
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    monkeypatch.setattr(CIFAR100, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", CIFAR100.meta | {"md5": sums["meta"]})
    return tmp_path
