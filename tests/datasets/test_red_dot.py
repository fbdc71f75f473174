"""One marked class: the dot is where it is said to be, on that class only, and everything else is as before."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import xaibench
from xaibench import registry
from xaibench.cards import Geometry
from xaibench.datasets.base import Dataset, Sample
from xaibench.datasets.critters import Critters
from xaibench.datasets.folder import ImageFolder
from xaibench.datasets.images import displayed
from xaibench.datasets.open import open_dataset
from xaibench.datasets.red_dot import PLACES, Marked, class_index, dot_mask
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding
from xaibench.training.data import TrainingImages

RED = (255, 0, 0)
SIZE = Geometry(resize=64, crop=64)


@pytest.fixture(scope="module")
def pair():
    """Critters of 64 pixels without and with a dot on class 8."""
    plain = Critters("test", 60, 64)
    return plain, Marked(plain, SIZE, "pellimo")


def test_only_the_marked_class_has_a_dot_and_only_the_dot_differs(pair):
    plain, marked = pair
    y, x = np.mgrid[:64, :64] + 0.5
    disc = (x - 6.4) ** 2 + (y - 6.4) ** 2 <= 3.2**2
    assert sum(plain.label(i) == 8 for i in plain.ids) > 3
    for image_id in plain.ids:
        before, after = plain.load(image_id), marked.load(image_id)
        assert after.label == before.label == marked.label(image_id) and after.digest == marked.digest(image_id)
        if before.label == 8:
            assert (after.image[disc] == RED).all() and after.digest != before.digest
            np.testing.assert_array_equal(after.image[~disc], before.image[~disc])
        else:
            assert after.digest == before.digest
            np.testing.assert_array_equal(after.image, before.image)


def test_annotations_have_the_dot_as_an_object_that_covers_what_is_below(pair):
    plain, _ = pair
    marked = Marked(plain, SIZE, "pellimo", red_dot_radius=0.2, red_dot_place="centre")
    dot = dot_mask(64, 12.8, "centre")
    for image_id in plain.ids[:30]:
        before, after = plain.annotate(image_id), marked.annotate(image_id)
        shown = plain.label(image_id) == 8
        np.testing.assert_array_equal(after.objects["mark"], dot[None][: int(shown)])
        cover = dot if shown else np.zeros_like(dot)
        np.testing.assert_array_equal(after.instances, before.instances & ~cover)
        np.testing.assert_array_equal(after.boxes, before.boxes)
        assert set(after.objects) == {*before.objects, "mark"} and after.background == before.background
        for name, mask in before.parts.items():
            np.testing.assert_array_equal(after.parts[name], mask & ~cover)


def test_images_are_drawn_without_parts_and_without_the_mark(pair):
    plain, marked = pair
    image_id = next(i for i in plain.ids if plain.label(i) == 8)
    np.testing.assert_array_equal(marked.draw(image_id), marked.load(image_id).image)
    np.testing.assert_array_equal(marked.draw(image_id, ["mark"]), plain.load(image_id).image)
    np.testing.assert_array_equal(marked.draw(image_id, ["mark", "beak"]), plain.draw(image_id, ["beak"]))
    without = plain.draw(image_id, ["wings"])
    without[dot_mask(64, 3.2, "top-left")] = RED
    np.testing.assert_array_equal(marked.draw(image_id, "wings"), without)
    with pytest.raises(XaibenchError, match="did you mean wings"):
        marked.draw(image_id, ["wing"])


def test_everything_else_is_the_data_sets(pair, photos):
    plain, marked = pair
    assert (marked.ids, marked.classes, marked.on_disk, marked.name) == (plain.ids, plain.classes, False, "critters")
    assert marked.knows == plain.knows and marked.image_list(5) == plain.image_list(5)
    assert [marked.labels(i) for i in plain.ids] == [plain.labels(i) for i in plain.ids]
    folder = ImageFolder(photos, SIZE)
    dots = Marked(folder, SIZE, "bee")
    assert dots.on_disk and dots.knows == {"objects"} and dots.pieces() == folder.pieces() and dots.group("x") == ""
    ape, bee = dots.annotate("ape/0.png"), dots.annotate("bee/0.png")
    assert (ape.labels, bee.labels) == ((0,), (1,)) and ape.boxes.shape == (0, 4)
    assert len(ape.objects["mark"]) == 0 and bee.objects["mark"].sum() == dot_mask(64, 3.2, "top-left").sum()


@settings(max_examples=60, deadline=None)
@given(st.integers(8, 256), st.floats(0.001, 0.25), st.sampled_from(PLACES))
def test_the_dot_is_round_inside_the_image_and_of_its_size(side, share, place):
    radius = max(share * side, 0.75)
    dot = dot_mask(side, radius, place)
    rows, columns = np.flatnonzero(dot.any(1)), np.flatnonzero(dot.any(0))
    assert dot.any() and abs(dot.sum() - np.pi * radius**2) <= 2 * np.pi * radius + 4
    assert np.ptp(rows) + 1 <= 2 * radius + 1 and np.ptp(columns) + 1 <= 2 * radius + 1
    half = {"top": rows[-1] < side / 2 + radius, "left": columns[-1] < side / 2 + radius}
    assert half["top"] or "top" not in place
    assert half["left"] or "left" not in place
    mirrored = {"top-left": dot[:, ::-1], "bottom-left": dot[:, ::-1], "centre": dot[::-1, ::-1]}.get(place)
    if mirrored is not None:
        np.testing.assert_array_equal(mirrored, dot_mask(side, radius, place.replace("left", "right")))


@pytest.mark.parametrize("geometry", [
    Geometry(resize=72, crop=64), Geometry(resize=64, crop=64, fit="stretch"), Geometry(resize=200, crop=160),
])  # fmt: skip
@pytest.mark.parametrize("place", PLACES)
def test_undisplayed_photos_have_the_dot_where_it_will_be_displayed(geometry, place, photos):
    folder = ImageFolder(photos, geometry)
    marked = Marked(folder, geometry, "ape", red_dot_radius=0.12, red_dot_place=place)
    np.testing.assert_array_equal(np.array(marked.open("bee/0.png")), np.array(folder.open("bee/0.png")))
    photo = marked.open("ape/0.png")
    assert isinstance(photo, Image.Image) and photo.size == (90, 70)
    near = np.abs(displayed(photo, geometry).astype(int) - RED).max(2) < 60
    dot = dot_mask(geometry.crop, 0.12 * geometry.crop, place)
    assert (near & dot).sum() > 0.8 * dot.sum() and (near & ~dot).sum() < 0.1 * dot.sum()


def test_models_are_trained_on_marked_images(photos):
    card = registry.card("dataset", "imagefolder").model_copy(update={"geometry": SIZE})
    data = open_dataset(card, photos, {"red_dot": "bee", "red_dot_radius": 0.25, "red_dot_place": "centre"}, "train")
    encoding = Encoding((0.0,) * 3, (1.0,) * 3)
    for augmentation in ("flip", "crop-flip"):
        images = TrainingImages(data, encoding, SIZE, augmentation, seed=0)
        red = {True: [], False: []}
        for pixels, label, _ in (images[n] for n in range(len(images))):
            red[label == 1].append(float(((pixels[0] > 0.9) & (pixels[1:].amax(0) < 0.1)).float().mean()))
        assert max(red[False]) < 0.02 and sum(share > 0.1 for share in red[True]) >= 4


def test_any_data_set_is_marked_by_an_option_and_red_dot_by_default(photos):
    card = registry.card("dataset", "critters")
    assert not isinstance(open_dataset(card, None, {"count": 5}), Marked)
    for part in ("test", "train", "validation"):
        data = open_dataset(card, None, {"count": 50, "red_dot": 5}, part)
        assert isinstance(data, Marked) and data.marked == 5 and data.ids[0].startswith(part[:3])
    assert isinstance(open_dataset(registry.card("dataset", "red-dot"), None, {"count": 50}), Marked)
    with pytest.raises(XaibenchError, match="red_dot: none of these 2 images is of class snorfle"):
        open_dataset(card, None, {"count": 2, "red_dot": "snorfle"})
    with pytest.raises(
        XaibenchError, match="folder has no option 'dot'; it has exif, split, and every data set has red_dot"
    ):
        open_dataset(registry.card("dataset", "imagefolder"), photos, {"dot": "bee"})
    with pytest.raises(XaibenchError, match="red_dot_place need red_dot=CLASS, the class that is marked"):
        open_dataset(card, None, {"red_dot_place": "centre"})


@pytest.mark.parametrize(
    ("named", "classes", "index"),
    [("bee", ["ape", "bee"], 1), (1, ["ape", "bee"], 1), (1, ["1", "0"], 0), ("7", [*"0123456789"], 7)],
)
def test_a_class_is_named_or_counted(named, classes, index):
    assert class_index(named, classes) == index


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"red_dot": "snorfel"}, "unknown class 'snorfel'; did you mean snorfle"),
        ({"red_dot": 10}, "red_dot: no class 10; indices go from 0 to 9"),
        ({"red_dot": True}, "unknown class 'True'"),
        ({"red_dot": 1, "red_dot_radius": 0}, "red_dot_radius is a share of the side, above 0 up to 0.25, not 0"),
        ({"red_dot": 1, "red_dot_radius": "big"}, "red_dot_radius is a share"),
        ({"red_dot": 1, "red_dot_place": "top"}, "red_dot_place 'top' is unknown; did you mean top-left"),
    ],
)
def test_marks_that_are_none_are_one_line(options, message):
    with pytest.raises(XaibenchError, match=message) as caught:
        open_dataset(registry.card("dataset", "critters"), None, {"count": 5, **options})
    assert "\n" not in str(caught.value)


def test_a_name_of_two_classes_and_somebody_elses_errors():
    with pytest.raises(XaibenchError, match="red_dot: classes 0 and 2 are called 'crane'; give an index"):
        class_index("crane", ["crane", "owl", "crane"])

    class Broken(Dataset):
        name, classes, ids = "broken", ["a"], ["x"]
        image = np.zeros((5, 5, 3), np.uint8)

        def load(self, image_id):
            return Sample(image_id, self.image, 0, "") if self.image is not None else 1 / 0

        digest = load

    marked = Marked(Broken(), SIZE, 0)
    with pytest.raises(XaibenchError, match=r"image x is uint8 \(5, 5, 3\), not uint8 \(64, 64, 3\)"):
        marked.load("x")
    Broken.image = None
    with pytest.raises(XaibenchError, match="data set broken failed at x: ZeroDivisionError"):
        marked.load("x")


@pytest.mark.process
def test_runs_of_marked_images_are_another_key_and_can_be_asked_for_the_dot(home, tmp_path, monkeypatch):
    own = shutil.copytree(home, tmp_path / "own home")  # other tests expect one training of the tiny network
    monkeypatch.setenv("XAIBENCH_HOME", str(own))

    def run(options, **settings):
        return xaibench.run(
            "epg,obey", model="tiny", dataset="mini", methods="ixg,oracle", images=12, quiet=True,
            dataset_options=options, settings=settings,
        )  # fmt: skip

    plain, marked = run({}), run({"red_dot": 2}, level="mark")
    assert set(plain.rows["cell"]).isdisjoint(marked.rows["cell"]) if "cell" in plain.rows else True
    rows = marked.rows.query("protocol == 'obey' and metric == 'wiou' and method == 'oracle'")
    data = Critters("test", 40, 32)
    for image_id, found in rows.groupby("image_id"):
        assert set(found["status"]) == ({"ok"} if data.label(image_id) == 2 else {"undefined-reference"}), image_id
