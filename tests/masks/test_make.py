"""Making masks: SLIC and annotations as their sources have them, resuming, what is dropped, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import xaibench
from xaibench import registry
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError
from xaibench.locks import claim
from xaibench.masks import make as making
from xaibench.masks.make import make_masks
from xaibench.masks.slic import Slic
from xaibench.masks.store import Masks

pytest.importorskip("skimage")


def mini():
    return open_dataset(registry.card("dataset", "mini"), None, {})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def superpixels(image: np.ndarray, segments: int, sigma: float = 1.0) -> np.ndarray:
    from skimage.segmentation import slic

    return slic(image, n_segments=segments, compactness=10, sigma=sigma, start_label=0)


def test_slic_is_that_of_scikit_image(slic):
    data, made = mini(), slic(segments=12)
    masks = Masks(made.path)
    assert list(masks.entries) == data.image_list(8) and made.computed == 8
    for image_id in data.image_list(8):
        labels, found = superpixels(data.load(image_id).image, 12), masks.load(image_id)
        assert found.shape == (labels.max() + 1, 32, 32) and (found.sum(0) == 1).all()
        assert np.array_equal(found.argmax(0), labels)
    assert made.masks.tolist() == [len(masks.load(image_id)) for image_id in data.image_list(8)]
    assert masks.header.packages.keys() == {"scikit-image"} and masks.header.side == 32
    assert masks.header.dataset["geometry"] == {"resize": 32, "crop": 32}


def test_small_masks_are_dropped_and_counted(slic):
    """A share of 0.05 is 51.2 of 1024 pixels, so 51 are too few and 52 enough; an image may be left without a mask."""
    data, made = mini(), slic(segments=20, min_area=0.05)
    areas = [np.bincount(superpixels(data.load(i).image, 20).ravel()) for i in data.image_list(8)]
    assert made.masks.tolist() == [int((a >= 52).sum()) for a in areas]
    assert made.dropped == sum(int((a < 52).sum()) for a in areas) > 0
    masks = Masks(made.path)
    assert all((masks.load(i).sum((1, 2)) >= 52).all() for i in data.image_list(8))
    exact = slic(1, out=made.path.with_name("exact"), min_area=float(areas[0].max() / 1024), segments=20)
    assert exact.masks.tolist() == [(areas[0] == areas[0].max()).sum()], "the least area itself is enough"
    none = slic(out=made.path.with_name("none"), min_area=0.9)
    assert none.masks.tolist() == [0] * 8 and Masks(none.path).load(data.image_list(1)[0]).shape == (0, 32, 32)


@pytest.mark.parametrize("level", ["all", "creatures", "parts", "distractors", "instances"])
def test_annotations_are_those_of_the_data_set(level, home, tmp_path):
    data = mini()
    made = make_masks("annotations", dataset="mini", images=6, out=tmp_path / "m", settings={"level": level})
    masks, empty = Masks(made.path), 0
    for image_id in data.image_list(6):
        known = data.annotate(image_id)
        levels = {**known.objects, "all": np.concatenate(list(known.objects.values())), "instances": known.instances}
        seen = levels[level][levels[level].any((1, 2))]
        assert np.array_equal(masks.load(image_id), seen)
        empty += len(levels[level]) - len(seen)
    assert made.dropped == empty


def test_an_interrupted_making_ends_in_the_same_files(slic, monkeypatch, tmp_path):
    """Stopped in the middle of a file, then asked for fewer images than before, then for all."""
    monkeypatch.setattr(making, "SHARD", 5)
    whole = slic(13).path
    draw, seen = Slic.draw, []

    def stopped(self, sample):
        if len(seen) == 7:
            raise KeyboardInterrupt
        seen.append(sample.image_id)
        return draw(self, sample)

    monkeypatch.setattr(Slic, "draw", stopped)
    with pytest.raises(KeyboardInterrupt):
        slic(13, tmp_path / "parts")
    assert list(Masks(tmp_path / "parts").entries) == seen == mini().image_list(7)
    monkeypatch.setattr(Slic, "draw", draw)
    assert slic(4, tmp_path / "parts").computed == 0
    assert slic(13, tmp_path / "parts").computed == 6
    assert contents(tmp_path / "parts") == contents(whole) and len(contents(whole)) == 3
    assert slic(13, tmp_path / "parts").computed == 0


@pytest.mark.slow
@pytest.mark.process
def test_a_killed_making_loses_one_file_at_most(slic, monkeypatch, tmp_path):
    """Killed where it stands, it leaves whole files and no lock, and the same command ends in the files of one go."""
    code = "from xaibench.masks import make; make.SHARD = 3; from xaibench.cli import main; main()"
    words = ["masks", "make", "--dataset", "mini", "--with", "slic", "--quiet", "--out", tmp_path / "killed"]
    killed = subprocess.Popen([sys.executable, "-c", code, *words], cwd=Path(xaibench.__file__).parents[1])
    while not contents(tmp_path / "killed"):
        assert killed.poll() is None
        time.sleep(0.002)
    killed.kill()
    killed.wait()
    done = len(Masks(tmp_path / "killed").entries)
    assert done % 3 == 0 or done == 40
    monkeypatch.setattr(making, "SHARD", 3)
    assert slic(None, tmp_path / "killed").computed == 40 - done
    whole = contents(slic(None, tmp_path / "whole").path)
    assert contents(tmp_path / "killed") == whole and len(whole) == 14


def test_masks_of_a_replaced_photo_are_made_again(photos, home, tmp_path):
    def make():
        return make_masks("slic", dataset="imagefolder", data_root=photos, out=tmp_path / "masks", quiet=True)

    before, first = make(), sorted(photos.rglob("*.png"))[0]
    old = Masks(before.path)
    first.write_bytes((photos / "bee" / "3.png").read_bytes())
    assert make().computed == 1 and len(contents(before.path)) == 1
    new = Masks(before.path)
    assert list(new.entries) == list(old.entries) and len(new.entries) == 10
    assert [i for i in new.entries if new.entries[i] != old.entries[i]] == ["ape/0.png"]
    assert np.array_equal(new.load("ape/0.png"), old.load("bee/3.png"))


@pytest.mark.slow
@pytest.mark.process
def test_masks_stay_in_their_file_when_photos_join(photos, home, monkeypatch, tmp_path):
    """More photos move the others in the list: none is made twice, and a replaced one stays where it was."""
    monkeypatch.setattr(making, "SHARD", 3)

    def make():
        return make_masks("slic", dataset="imagefolder", data_root=photos, out=tmp_path / "masks", quiet=True)

    make()
    before = {image_id: entry.path for image_id, entry in Masks(tmp_path / "masks").entries.items()}
    for number in range(5, 20):
        (photos / "bee" / f"{number}.png").write_bytes((photos / "bee" / "3.png").read_bytes())
    for path in (photos / "ape").glob("*.png"):
        path.write_bytes((photos / "bee" / "3.png").read_bytes())
    assert make().computed == 20 and make().computed == 0
    after = {image_id: entry.path for image_id, entry in Masks(tmp_path / "masks").entries.items()}
    assert len(after) == 25 and before.items() <= after.items()


def test_the_usual_folder_is_another_for_other_settings(home, monkeypatch, tmp_path):
    monkeypatch.setenv("XAIBENCH_HOME", str(tmp_path))
    (tmp_path / "cards").symlink_to(home / "cards")
    made = [make_masks("slic", dataset="mini", images=1, settings={"sigma": s}, quiet=True) for s in (0, 0.0, 2)]
    assert made[0].path == made[1].path != made[2].path and made[1].computed == 0
    assert made[0].path.parent == tmp_path / "masks" / "mini" and made[0].path.name.startswith("slic-")


def test_ctrl_c_is_one_line_and_keeps_what_is_done(command, home, monkeypatch):
    draw, seen = Slic.draw, []

    def pressed(self, sample):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(sample.image_id)
        return draw(self, sample)

    monkeypatch.setattr(Slic, "draw", pressed)
    status, _, err = command("masks", "make", "--dataset", "mini", "--with", "slic", "--out", "m", "--quiet")
    assert status == 130
    assert err == "xaibench: interrupted; what is done is stored, the same command goes on from there\n"
    assert list(Masks("m").entries) == seen


def test_one_making_at_a_time(slic, tmp_path):
    command = "xaibench masks make --somewhere"
    with claim(tmp_path / "masks" / "locks", ["masks"], command, "nothing"), pytest.raises(XaibenchError) as error:
        slic()
    assert "being made in" in str(error.value) and command in str(error.value) and "--out" in str(error.value)


@pytest.mark.parametrize(
    ("maker", "words", "message"),
    [
        ("slick", {}, "unknown maker of masks 'slick'; did you mean slic? there are sam, sam2, slic, annotations"),
        ("slic", {"settings": {"points": 3}}, "have no setting 'points'; they have segments, compactness, sigma, min_"),
        ("slic", {"settings": {"segments": 2.5}}, "segments is a whole number, not 2.5"),
        ("slic", {"settings": {"segments": True}}, "segments is a whole number, not True"),
        ("slic", {"settings": {"sigma": "much"}}, "sigma is a number, not 'much'"),
        ("slic", {"settings": {"min_area": 1.5}}, "min_area is a number from 0 to 1, not 1.5"),
        ("slic", {"settings": {"sigma": float("nan")}}, "settings.sigma is nan; give a finite number"),
        ("slic", {"tools": making.Tools(model="x")}, "made without a network; leave out --model"),
        ("slic", {"images": 0}, "images is at least 1, not 0"),
        ("slic", {"out": "masks.parquet"}, "masks.parquet must be a folder"),
        ("annotations", {"settings": {"level": 3}}, "level is a name, not 3"),
        ("annotations", {"settings": {"level": "wings"}}, "level is all or one of creatures, parts, distractors, inst"),
    ],
)
def test_what_makes_no_sense_is_refused(maker, words, message, home):
    with pytest.raises(XaibenchError) as error:
        make_masks(maker, dataset="mini", **({"images": 1, "quiet": True, "out": "m"} | words))
    assert message in str(error.value) and len(str(error.value).splitlines()) == 1
    assert not list(Path().rglob("*.parquet"))


def test_a_data_set_without_masks_has_none_to_write(photos, home):
    with pytest.raises(XaibenchError, match="imagefolder has no masks of its own; make some --with sam or slic"):
        make_masks("annotations", dataset="imagefolder", data_root=photos)


def test_a_folder_of_other_masks_is_refused(slic, home, tmp_path):
    slic(2)
    with pytest.raises(XaibenchError, match=r"has masks of segments 32, not 9; choose another --out"):
        slic(2, segments=9)
    with pytest.raises(XaibenchError, match=r"has masks of maker slic, not annotations|has masks of .*segments"):
        make_masks("annotations", dataset="mini", images=2, out=tmp_path / "masks")
    with pytest.raises(XaibenchError, match="has masks of data set settings"):
        make_masks("slic", dataset="mini", dataset_options={"rule": "one:beak"}, out=tmp_path / "masks", images=2)
    with pytest.raises(XaibenchError, match="has masks of data set name mini, not critters"):
        make_masks("slic", dataset="critters", images=1, out=tmp_path / "masks")


def test_a_missing_package_names_its_extra(slic, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(XaibenchError, match=r"masks by slic need .*pip install 'xaibench\[slic\]'"):
        slic()


def test_the_command_says_how_many_and_what_to_do_with_them(command, home):
    words = ("masks", "make", "--dataset", "mini", "--with", "slic", "--out", "m", "--setting", "segments=6", "--quiet")
    status, out, err = command(*words, "--images", 3)
    number = [entry.masks for entry in Masks("m").entries.values()]
    counted = f"3 images: {sum(number) / 3:.1f} masks an image ({min(number)} to {max(number)}); 0 below"
    assert (status, err) == (0, "") and out.startswith(counted)
    assert "made 3 now; masks: m\n" in out
    assert "xaibench run obey --model MODEL --dataset mini --masks m --setting level=slic\n" in out
    status, out, err = command(*words, "--images", 41)
    assert "made 37 now" in out and err == "warning: mini has 40 images, not the 41 asked for\n"
    assert "nothing was missing; masks: m\n" in command(*words)[1]


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "folder", "options"), [("imagenet", "imagenet_sample", {}), ("voc2012", ".", {"split": "trainval"})]
)
def test_real_photos(name, folder, options, real, home, tmp_path):
    """Superpixels of photos that are cut or stretched: they are those of the displayed pixels."""
    words = {"data_root": real / folder, "dataset_options": options, "images": 4}
    made = make_masks("slic", dataset=name, out=tmp_path / "m", quiet=True, **words)
    data, masks = open_dataset(registry.card("dataset", name), real / folder, options), Masks(made.path)
    for image_id in data.image_list(4):
        labels = superpixels(data.load(image_id).image, 32)
        sizes = np.bincount(labels.ravel())
        assert np.array_equal(masks.load(image_id), [labels == k for k in np.flatnonzero(sizes >= 0.01 * 224**2)])


def test_parquet_that_others_can_read(slic):
    """The columns, and the masks by COCO's own reader."""
    coco = pytest.importorskip("pycocotools.mask")
    made = slic(3)
    rows = pq.read_table(made.path / "000000.parquet").to_pylist()
    masks = Masks(made.path)
    for row in rows:
        packed = [coco.frPyObjects({"counts": runs, "size": [32, 32]}, 32, 32) for runs in row["counts"]]
        assert np.array_equal(coco.decode(packed).transpose(2, 0, 1).astype(bool), masks.load(row["image_id"]))
        assert row["masks"] == len(packed) and row["image_digest"] == mini().digest(row["image_id"])
