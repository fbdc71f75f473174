"""Waterbirds: groups, splits, boxes of CUB, and the reversed task, in which the outside of the box counts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from xaibench import registry
from xaibench.cards import Geometry
from xaibench.datasets.base import Annotation
from xaibench.datasets.image_annotations import ImageAnnotations
from xaibench.datasets.open import open_dataset
from xaibench.datasets.waterbirds import Waterbirds, outside
from xaibench.errors import XaibenchError
from xaibench.protocols.api import make_protocol

GEOMETRY = Geometry(resize=32, crop=24)
HEADER = "img_id,img_filename,y,split,place,place_filename\n"
# bird, split, place of images 1 to 12
ROWS = {
    95: [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1), (0, 1, 0), (0, 1, 1), (1, 1, 0), (1, 1, 1),
         (0, 2, 0), (0, 2, 1), (1, 2, 0), (1, 2, 1)],
    100: [(0, 0, 0), (0, 0, 0), (1, 0, 1), (1, 0, 1), (0, 1, 0), (0, 1, 1), (1, 1, 0), (1, 1, 1),
          (0, 2, 0), (0, 2, 1), (1, 2, 0), (1, 2, 1)],
}  # fmt: skip
FOLDER = {95: "waterbird_complete95_forest2water2", 100: "waterbird_1.0_forest2water2"}


def names(cub: Path) -> list[str]:
    return [line.split()[1] for line in (cub / "images.txt").read_text().splitlines()]


@pytest.fixture
def birds(cub):
    """birds(correlation): the folder of a miniature beside CUB_200_2011."""

    def make(correlation: int = 95) -> Path:
        folder, lines = cub.parent / FOLDER[correlation], [HEADER]
        for number, (name, (bird, split, place)) in enumerate(zip(names(cub), ROWS[correlation], strict=True), 1):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with Image.open(cub / "images" / name) as image:
                image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(folder / name)
            lines.append(f"{number},{name},{bird},{split},{place},/{'bo'[place]}/x/{number}.jpg\n")
        (folder / "metadata.csv").write_text("".join(lines))
        return folder

    return make


def test_groups_and_splits_are_those_of_the_metadata(birds, cub):
    folder = birds()
    for split, first in (("train", 0), ("val", 4), ("test", 8)):
        data = Waterbirds(folder.parent if split == "val" else folder, GEOMETRY, split)
        assert list(data.ids) == names(cub)[first : first + 4]
        assert [data.group(i) for i in data.ids] == ["G1", "G2", "G3", "G4"]
        assert [data.label(i) for i in data.ids] == [0, 0, 1, 1] and data.classes == ("landbird", "waterbird")
        backgrounds = Waterbirds(folder, GEOMETRY, split, task="reversed")
        assert [backgrounds.label(i) for i in data.ids] == [0, 1, 0, 1] and backgrounds.classes == ("land", "water")


def test_waterbirds_100_validates_on_g1_and_g4_and_tests_on_all(birds):
    folder = birds(100)
    groups = {s: [d.group(i) for i in d.ids] for s in ("train", "val", "test")
              for d in [Waterbirds(folder, GEOMETRY, s, correlation=100)]}  # fmt: skip
    assert groups == {"train": ["G1", "G1", "G4", "G4"], "val": ["G1", "G4"], "test": ["G1", "G2", "G3", "G4"]}


@pytest.mark.parametrize("correlation", [95, 100])
def test_the_metadata_of_the_other_correlation_is_refused(correlation, birds):
    folder, other = birds(correlation), 195 - correlation
    open_dataset(registry.card("dataset", f"waterbirds{correlation}"), folder, {})
    with pytest.raises(XaibenchError, match=f"training images .*; that is --dataset waterbirds{correlation}"):
        open_dataset(registry.card("dataset", f"waterbirds{other}"), folder, {})


def test_boxes_and_masks_are_those_of_the_cub_photo(birds, cub, theirs):
    data = Waterbirds(birds(), GEOMETRY)
    for number, image_id in enumerate(data.ids, 9):
        with Image.open(cub / "segmentations" / image_id.replace(".jpg", ".png")) as image:
            mask = np.array(image) > 200
        known = data.annotate(image_id)
        np.testing.assert_array_equal(known.instances[0], theirs(mask, 32, 24))
        assert known.background == ("land", "water")[number % 2 == 0]
        assert known.labels == tuple(known.box_labels.tolist()) == (data.label(image_id),)


def test_the_reversed_task_counts_what_is_outside_of_the_box(birds):
    """Every protocol that asks for boxes or masks of a class gets the complement of the bird's displayed box."""
    folder = birds()
    data, bird = Waterbirds(folder, GEOMETRY, task="reversed"), Waterbirds(folder, GEOMETRY)
    samples = [data.load(i) for i in data.ids]
    wanted = np.ones((len(samples), 24, 24), dtype=bool)
    for image, image_id in enumerate(data.ids):
        ((x0, y0, x1, y1),) = bird.annotate(image_id).boxes
        wanted[image, y0:y1, x0:x1] = False
    e = Evidence(samples, data)
    for protocol in ("epg", "x-seg-epg"):
        prepared = make_protocol(registry.card("protocol", protocol), {}).prepare(e)
        np.testing.assert_array_equal(prepared.part.numpy(), wanted)
        assert prepared.whole is None


class Evidence:
    """As much of evidence as a protocol of localisation asks for: one pair an image, of its label."""

    def __init__(self, samples, data):
        self.images = torch.zeros(len(samples), 3, 24, 24)
        self.owner, self.targets = torch.arange(len(samples)), torch.tensor([s.label for s in samples])
        self.annotations = ImageAnnotations(samples, data, lambda images: images)

    def once(self, key, make):
        return make()


EDGES = st.tuples(st.integers(0, 12), st.integers(0, 12)).map(sorted)


@given(EDGES, EDGES)
def test_the_boxes_of_the_outside_cover_it_once(x, y):
    box = np.array([[x[0], y[0], x[1], y[1]]])
    nothing = np.zeros((0, 12, 12), dtype=bool)
    known = outside(Annotation((1,), box, np.array([1]), nothing, background="land"), 0)
    count = np.zeros((12, 12), dtype=int)
    for x0, y0, x1, y1 in known.boxes:
        assert x1 > x0 and y1 > y0
        count[y0:y1, x0:x1] += 1
    inside = np.zeros((12, 12), dtype=bool)
    inside[y[0] : y[1], x[0] : x[1]] = True
    np.testing.assert_array_equal(count, ~inside)
    np.testing.assert_array_equal(known.masks[0], ~inside)
    assert set(known.box_labels.tolist()) <= {0} and known.labels == (0,) and known.background == "land"


def test_cub_is_found_in_the_root_beside_it_or_by_its_name(birds, cub):
    folder = birds()
    found = Waterbirds(folder, GEOMETRY).annotate
    image_id = names(cub)[8]
    boxes = found(image_id).boxes.tolist()
    cub.rename(folder / "CUB_200_2011")
    assert Waterbirds(folder, GEOMETRY).annotate(image_id).boxes.tolist() == boxes
    (folder / "CUB_200_2011").rename(cub.parent / "birds")
    for named in ("../birds", str(cub.parent / "birds")):
        assert Waterbirds(folder, GEOMETRY, cub=named).annotate(image_id).boxes.tolist() == boxes
    lost = Waterbirds(folder, GEOMETRY)
    with pytest.raises(XaibenchError, match=r"is not in .*; put it there, or name it by --dataset-option cub=DIR"):
        lost.annotate(image_id)
    assert lost.load(image_id).digest == lost.digest(image_id) and [p.count for p in lost.pieces()] == [4, None]


def test_photos_of_another_size_than_cubs_are_refused(birds, cub):
    folder = birds()
    image_id = names(cub)[8]
    Image.new("RGB", (30, 30)).save(folder / image_id)
    with pytest.raises(XaibenchError, match=r"is 30 x 30 pixels, .* 52 x 48; CUB's boxes do not fit resized photos"):
        Waterbirds(folder, GEOMETRY).annotate(image_id)
    (cub / "images" / image_id).unlink()
    with pytest.raises(XaibenchError, match=r"0009.png is 52 x 48 pixels, its photo 30 x 30|its photo of 30 x 30"):
        Waterbirds(folder, GEOMETRY).annotate(image_id)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("img_id,img_filename,y,", "img_id,img_filename,label,", r"metadata.csv has no column y; Waterbirds has"),
        (",0,2,0,", ",7,2,0,", r"metadata.csv:10: y is '7', not 0 or 1"),
        (",0,2,0,", ",0,3,0,", r"metadata.csv:10: split is '3', not 0 or 1 or 2"),
        (",0,2,0,", ",0,2,", r"metadata.csv:10: not as many columns as the first line has"),
        (",0,2,0,", ",0,2,0,0,", r"metadata.csv:10: not as many columns as the first line has"),
        ("_0010.jpg", "_0009.jpg", r"metadata.csv:11: .*0009.jpg is listed twice; remove one of the lines"),
        ("_0010.jpg", "_0099.jpg", r"metadata.csv lists 1 of 4 .*_0099.jpg"),
        (",2,", ",1,", r"metadata.csv lists no photo of this split"),
    ],
)
def test_metadata_that_does_not_fit_is_one_line(old, new, message, birds):
    path = birds() / "metadata.csv"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 99 if old == ",2," else 1))
    with pytest.raises(XaibenchError, match=message) as caught:
        Waterbirds(path.parent, GEOMETRY)
    assert "\n" not in str(caught.value)


def test_options_that_are_not_there(birds, tmp_path):
    folder = birds()
    with pytest.raises(XaibenchError, match="waterbirds: task 'reverse' is unknown; did you mean reversed"):
        Waterbirds(folder, GEOMETRY, task="reverse")
    with pytest.raises(XaibenchError, match="correlation is 95 or 100, not 50"):
        Waterbirds(folder, GEOMETRY, correlation=50)
    with pytest.raises(XaibenchError, match=r"has no metadata.csv, nor waterbird_complete95_forest2water2/meta"):
        Waterbirds(folder / "001.Black_footed_Albatross", GEOMETRY)


@pytest.mark.slow
def test_the_study_of_table_1_runs_on_a_miniature(home, birds, command, tmp_path):
    """From the plain networks to claims about the accuracy on waterbirds on land; architecture and epochs are small."""
    text = (Path(__file__).parents[2] / "registry" / "studies" / "rao-table-1.toml").read_text()
    for paper, small in {
        '"bcos_resnet50"': '"critters_cnn"', ", batch_size = 64": "", "epochs = 350": "epochs = 1, batch_size = 2",
        'start = "transfer"': 'start = "scratch"', "trainings = 4": 'trainings = 1, protocols = ["epg"]',
        'name = "R': 'name = "small-R',
    }.items():  # fmt: skip
        assert paper in text
        text = text.replace(paper, small)
    (tmp_path / "own" / "studies").mkdir(parents=True)
    (tmp_path / "own" / "studies" / "table-1-small.toml").write_text(text)
    registry.add_folder(tmp_path / "own")
    data = ("--data-root", birds(100), "--quiet")
    words = ("study", "run", "table-1-small", "--scale", "paper", "--cards", "own", *data, "--format", "json")
    status, out, err = command(*words)
    assert status == 0, err
    why = {one["claim"].removeprefix("small-"): one["why"] for one in json.loads(out)["claims"]}
    for claim, group in (("R10", "G3"), ("R10a", "G3"), ("R10b", "all images")):
        assert re.match(f"without guidance to Energy, accuracy on {group}: .*; 1 of the 5 trainings", why[claim])
    assert why["R10c"] == "on Waterbirds R10 is about B-cos networks"
    assert (tmp_path / "results" / "figures" / "study-table-1-small-paper.png").stat().st_size > 10_000
    status, out, err = command(*words[:7], "--stored", "--format", "json")  # as of others' results, without the photos
    assert status == 0, err
    without = {one["claim"].removeprefix("small-"): one["why"] for one in json.loads(out)["claims"]}
    assert "the accuracy on other-background or G3 is not known" in without["R10"] and without["R10b"] == why["R10b"]
