"""`xaibench data check` and `xaibench show dataset`: what is there, what lacks, what is broken."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import xaibench
from xaibench.cards import Geometry
from xaibench.datasets.base import Annotation, Piece
from xaibench.datasets.check import check_dataset
from xaibench.datasets.critters import Critters
from xaibench.datasets.folder import ImageFolder
from xaibench.errors import XaibenchError

CARD = """
title = "Photos"
target = "xaibench.datasets.folder:ImageFolder"
geometry = { resize = 40, crop = 32 }
layout = \"\"\"
CLASS/
  *.png   (at least one)
\"\"\"
"""


@pytest.fixture
def cards(tmp_path) -> Path:
    """A folder of cards with the data set `small`, which has a layout."""
    (tmp_path / "cards" / "datasets").mkdir(parents=True)
    (tmp_path / "cards" / "datasets" / "small.toml").write_text(CARD)
    return tmp_path / "cards"


class Fake(xaibench.Dataset):
    """Six images with something wrong about most of them."""

    name, classes, knows = "fake", ("a", "b", "c"), frozenset({"boxes", "masks"})
    ids = ("0", "1", "2", "3", "4", "5")

    def load(self, image_id):
        if image_id == "3":
            raise RuntimeError("no\nluck")
        side = 9 if image_id == "4" else 8
        return xaibench.Sample(image_id, np.zeros((side, side, 3), np.uint8), 0, "x")

    def digest(self, image_id):
        return "x"

    def labels(self, image_id):
        return {"1": (), "2": (0, 2)}.get(image_id, (0,))

    def group(self, image_id):
        return "G2" if image_id == "5" else "G1"

    def pieces(self):
        return [Piece("photos", Path("p"), 6), Piece("boxes", Path("b"), None), Piece("masks", Path("m"), None, True)]

    def annotate(self, image_id):
        boxes = np.array({"0": [[0, 0, 4, 4], [8, 2, 8, 5]], "5": [[0, 0, 9, 4]]}.get(image_id, []), dtype=np.int64)
        labels = np.array([0, 1][: len(boxes)], dtype=np.int64)
        masks = {0: np.ones((8, 8), bool), 1: np.zeros((8, 8), bool)} if image_id in "02" else {}
        return Annotation(self.labels(image_id), boxes.reshape(-1, 4), labels, np.zeros((0, 8, 8), bool), masks=masks)


def test_everything_is_counted_and_every_problem_has_a_line():
    found = check_dataset(Fake(), 8)
    assert found.classes.to_dict("list") == {
        "class": ["a", "b", "c"], "images": [5, 0, 1], "boxes": [2, 0, 0], "masks": [2, 0, 0]
    }  # fmt: skip
    assert found.groups == {"G1": 5, "G2": 1} and found.cut_off == 1
    assert found.without == {"label": 1, "box": 4, "mask": 4}
    assert [line.partition(": ")[::2] for line in found.problems if line[0].isdigit()] == [
        (image, words) for image, words in sorted(
            [("3", "RuntimeError: no luck"), ("4", "data set fake: image 4 is uint8 (9, 9, 3), not uint8 (8, 8, 3)"),
             ("5", "boxes reach from 0 to 9, beyond the 8 displayed pixels")],
            key=lambda pair: Fake().image_list().index(pair[0]))
    ]  # fmt: skip
    assert found.problems[0] == "missing: boxes, expected at b" and found.broken == {"3", "4", "5"}


def test_quick_reads_labels_only():
    found = check_dataset(Fake(), 8, read=0)
    assert found.problems == ["missing: boxes, expected at b"] and found.without == {"label": 1}
    assert found.classes["images"].tolist() == [5, 0, 1] and found.classes[["boxes", "masks"]].isna().all(axis=None)
    first = Fake().image_list().index("3") + 1
    assert "3" in check_dataset(Fake(), 8, read=first).broken
    assert "3" not in check_dataset(Fake(), 8, read=first - 1).broken


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"box_labels": np.array([0, 1])}, r"boxes are \(1, 4\) with labels \(2,\)"),
        ({"box_labels": np.array([3])}, "annotated class 3 of 3 classes"),
        ({"instances": np.zeros((2, 8, 8), bool)}, "2 masks of instances, but 1 boxes"),
        ({"ignored": np.zeros((4, 8), bool)}, r"ignored: bool \(4, 8\), not bool \(8, 8\)"),
        ({"masks": {0: np.zeros((8, 8))}}, r"mask of class 0: float64"),
        ({"parts": {"beak": np.zeros((8, 9), bool)}}, "part beak: "),
        ({"objects": {"sam": np.zeros((3, 9, 8), bool)}}, "objects sam: "),
    ],
)
def test_annotations_of_another_shape_are_problems(known, message):
    good = {"labels": (0,), "boxes": np.array([[0, 0, 4, 4]]), "box_labels": np.array([0]),
            "instances": np.zeros((1, 8, 8), bool)}  # fmt: skip

    class One(Fake):
        ids = ("0",)

        def pieces(self):
            return []

        def annotate(self, image_id):
            return Annotation(**good | known)

    line = check_dataset(One(), 8).problems[0]
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(line)
    known.clear()
    assert check_dataset(One(), 8).problems == []


@pytest.mark.process
def test_critters_are_counted_as_they_are_drawn(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("data", "check", "critters", "--dataset-option", "count=12", "--quiet", "--images", 4)
    status, out, err = command(*words, "--format", "json")
    value, data = json.loads(out), Critters(count=12)
    assert (status, err) == (0, "no problems; 12 of 12 images read\ncontact sheet: critters.png\n")
    known = [data.annotate(image_id) for image_id in data.ids]
    for index, row in enumerate(value["classes"]):
        assert row["images"] == sum(data.label(i) == index for i in data.ids)
        assert row["boxes"] == sum(int((k.box_labels == index).sum()) for k in known)
    assert value["without"] == {"label": 0, "box": 0, "mask": 0} and value["problems"] == []
    assert Image.open("critters.png").size[0] > 200 and Path("critters.png").stat().st_size < 300_000
    rows = list(csv.DictReader(io.StringIO(command(*words, "--format", "csv")[1])))
    assert [int(row["images"]) for row in rows] == [row["images"] for row in value["classes"]]
    status, out, err = command(*words, "--out", "sheet.png")
    assert status == 0 and err == "" and out.rstrip().splitlines()[-1] == "contact sheet: sheet.png"
    assert Path("sheet.png").read_bytes() == Path("critters.png").read_bytes()


def test_broken_photos_are_listed_and_the_sheet_shows_the_others(command, photos, cards, monkeypatch):
    monkeypatch.chdir(cards)
    words = ("data", "check", "small", "--cards", cards, "--data-root", photos, "--quiet")
    status, out, _ = command(*words)
    assert status == 0 and "imagefolder: 10 images" in out and "no problems" in out
    last = ImageFolder(photos, Geometry(resize=40, crop=32)).image_list()[-2:]
    for image_id in last:
        path = photos / image_id
        path.write_bytes(path.read_bytes()[:2000])
    status, out, err = command(*words)
    lines = [line for line in out.splitlines() if "truncated" in line]
    assert status == 1 and err == "" and [line.split(": ")[0] for line in lines] == last
    assert "2 problems" in out and "contact sheet: small.png" in out
    status, out, _ = command(*words, "--quick", "--images", 3)
    assert status == 0 and "no problems; 3 of 10 images read" in out, "the headers of both are whole"
    assert command(*words, "--quick")[0] == 1, "all ten are drawn, so all are read"
    (photos / last[0]).write_bytes(b"x")
    assert command(*words, "--quick", "--images", 3)[0] == 1


def test_only_the_first_of_many_problems_are_listed(command, photos, cards, monkeypatch):
    monkeypatch.chdir(cards)
    for number in range(10, 35):
        (photos / "ape" / f"{number}.png").write_bytes(b"x")
    out = command("data", "check", "small", "--cards", cards, "--data-root", photos, "--quiet")[1]
    assert sum(line.startswith("ape/") for line in out.splitlines()) == 20
    assert "25 problems, of which 20 are listed" in out
    for path in (photos / "ape").iterdir():
        path.write_bytes(b"x")
    for path in (photos / "bee").iterdir():
        path.write_bytes(b"x")
    out = command("data", "check", "small", "--cards", cards, "--data-root", photos, "--quiet", "--out", "no.png")[1]
    assert "no contact sheet: no image can be read" in out and not Path("no.png").exists()


def test_a_wrong_folder_is_told_with_the_layout(command, cards, tmp_path):
    (tmp_path / "empty").mkdir()
    status, out, err = command("data", "check", "small", "--cards", cards, "--data-root", tmp_path / "empty")
    lines = err.splitlines()
    assert status == 2 and out == ""
    assert lines[:3] == ["the layout of small:", "  CLASS/", "    *.png   (at least one)"]
    assert lines[3].startswith("xaibench: ") and "has no class folders" in lines[3] and len(lines) == 4
    out = command("show", "dataset", "small", "--cards", cards)[1]
    assert "layout:\n  CLASS/\n    *.png   (at least one)\n" in out


PLUGIN = """
import numpy as np, xaibench

@xaibench.dataset("far", geometry={"resize": 32, "crop": 32}, needs_root=True, split="test")
class Far(xaibench.Dataset):
    name, classes = "far", ("a", "b")
    def __init__(self, root, geometry, split, kind="plain"):
        self.root, self.ids = root, sorted(path.name for path in root.glob("*.npy"))
        if not self.ids:
            raise xaibench.XaibenchError(f"{root} has no .npy")
    def load(self, image_id):
        return xaibench.Sample(image_id, np.load(self.root / image_id), 1, "x")
    def digest(self, image_id):
        return "x"
    def label(self, image_id):
        return 1
    @classmethod
    def download(cls, root, split, kind="plain"):
        np.save(root / f"{split}-{kind}.npy", np.zeros((32, 32, 3), np.uint8))
"""


def test_only_download_fetches_and_with_the_parameters_it_is_opened_with(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("far.py").write_text(PLUGIN)
    words = ("data", "check", "far", "--plugin", "far.py", "--data-root", "new", "--quiet")
    assert command(*words)[0] == 2 and not Path("new").exists()
    status, out, _ = command(*words, "--download", "--dataset-option", "kind=odd")
    assert status == 0 and [path.name for path in Path("new").iterdir()] == ["test-odd.npy"] and "far: 1 image" in out
    assert command(*words[:5], "--download")[2] == (
        "xaibench: --download needs --data-root, the folder to put data set far into\n"
    )
    status, _, err = command("data", "check", "critters", "--download")
    assert status == 2 and "data set critters has nothing to fetch; leave out --download" in err
    status, _, err = command("data", "check", "imagefolder", "--download", "--data-root", "new")
    assert status == 2 and "cannot be fetched by this command" in err


def test_sheets_of_both_verbs_are_the_same(command, photos, cards, monkeypatch):
    monkeypatch.chdir(cards)
    more = ("--cards", cards, "--data-root", photos, "--images", 3)
    assert command("show", "dataset", "small", *more, "--out", "a.png")[0] == 0
    assert command("data", "check", "small", *more, "--quiet", "--out", "b.png")[0] == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    for words in (("show", "dataset"), ("data", "check")):
        status, _, err = command(*words, "small", *more, "--out", "a.jpg")
        assert status == 2 and "a contact sheet is a .png file, not 'a.jpg'" in err


@pytest.mark.slow
def test_photos_of_voc(command, real, tmp_path, monkeypatch):
    """Counts against what the XML files and masks say by themselves."""
    monkeypatch.chdir(tmp_path)
    folder = real / "VOCdevkit" / "VOC2012"
    words = ("data", "check", "voc2012", "--data-root", real, "--dataset-option", "split=trainval", "--format", "json")
    status, out, _ = command(*words, "--quiet")
    value = json.loads(out)
    assert status == 0, value["problems"]
    names = (folder / "ImageSets" / "Main" / "trainval.txt").read_text().split()
    texts = [(folder / "Annotations" / f"{name}.xml").read_text() for name in names]
    assert value["images"] == len(names)
    assert sum(row["boxes"] for row in value["classes"]) == sum(text.count("<object>") for text in texts)
    for row in value["classes"]:
        assert row["images"] == sum(f"<name>{row['class']}</name>" in text for text in texts), row
    masks = [folder / "SegmentationClass" / f"{name}.png" for name in names]
    assert value["without"]["mask"] == sum(not path.is_file() for path in masks)
    assert Path("voc2012.png").stat().st_size < 300_000


def test_errors_are_the_users(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = command("data", "check", "critter")
    assert status == 2 and "unknown dataset 'critter'; did you mean critters" in err
    with pytest.raises(XaibenchError, match="needs --data-root"):
        from xaibench import registry
        from xaibench.datasets.open import open_dataset

        open_dataset(registry.card("dataset", "imagenet"), None, {})
