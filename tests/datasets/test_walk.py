"""Which files below class folders are photos: hidden and system entries, links, suffixes, and what is left out."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from xaibench.cards import Geometry
from xaibench.datasets import walk
from xaibench.datasets.check import check_dataset
from xaibench.datasets.folder import ImageFolder
from xaibench.datasets.imagenet import ImageNet
from xaibench.datasets.walk import BESIDE, HIDDEN, NOWHERE, OTHER, TWICE, UNREADABLE, find_photos
from xaibench.errors import XaibenchError

GEOMETRY = Geometry(resize=16, crop=16)


def photo(path, format="PNG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20), "red").save(path, format)
    return path


@pytest.fixture
def root(tmp_path):
    """Class folders ape (a.png, b.png) and bee (c.png)."""
    for name in ("ape/a.png", "ape/b.png", "bee/c.png"):
        photo(tmp_path / "root" / name)
    return tmp_path / "root"


IDS = ["ape/a.png", "ape/b.png", "bee/c.png"]
FOLDERS = [
    ".ipynb_checkpoints", ".git", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found",
    ".Trash-1000", "__pycache__", "__macosx", "@Recently-Snapshot",
]  # fmt: skip
FILES = ["Thumbs.db", "._a.png", ".DS_Store", "desktop.ini", ".hidden.jpg"]


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("place", ["", "ape", "ape/deep"])
def test_hidden_and_system_folders_hold_no_classes_and_no_photos(name, place, root):
    photo(root / place / name / "a-checkpoint.png")
    data = ImageFolder(root, GEOMETRY)
    assert data.ids == IDS and list(data.classes) == ["ape", "bee"]
    assert data.skipped_files() == {HIDDEN: [f"{place}/{name}".strip("/")]}


@pytest.mark.parametrize("name", FILES)
def test_hidden_and_system_files_are_no_photos(name, root):
    photo(root / "ape" / name)
    data = ImageFolder(root, GEOMETRY)
    assert data.ids == IDS and data.skipped_files() == {HIDDEN: [f"ape/{name}"]}


def test_a_class_folder_of_a_wordnet_id_is_not_refused_for_a_folder_of_the_system(root):
    photo(root / "val" / "n01440764" / "a.JPEG", "JPEG")
    photo(root / "val" / "__MACOSX" / "n01440764" / "._a.JPEG", "JPEG")
    assert ImageNet(root, GEOMETRY, "val").ids == ["val/n01440764/a.JPEG"]


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("x.jfif", "JPEG"), ("x.JPE", "JPEG"), ("x.JPG", "JPEG"), ("x.Jpeg", "JPEG"), ("x.avif", "AVIF"),
        ("x.AVIF", "AVIF"), ("x.jp2", "JPEG2000"), ("x.PNG", "PNG"), ("x", "JPEG"), ("0123456789abcdef", "PNG"),
        ("x.webp", "WEBP"), ("x.TIF", "TIFF"), ("x.pnm", "PPM"),
    ],
)  # fmt: skip
def test_photos_by_suffix_in_any_case_and_without_suffix(name, format, root):
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    photo(root / "bee" / name, format)
    data = ImageFolder(root, GEOMETRY)
    assert sorted(data.ids) == sorted([*IDS, f"bee/{name}"]) and data.skipped_files() == {}
    assert data.load(f"bee/{name}").image.shape == (16, 16, 3) and data.label(f"bee/{name}") == 1


def test_everything_else_is_listed_with_its_reason(root, monkeypatch):
    for name in ("README", "notes.txt", "a.jpg_original", "a.pdf"):
        (root / "ape" / name).write_bytes(b"words")
    for name in ("x.heic", "y.avif"):
        (root / "bee" / name).write_bytes(b"photo")
    photo(root / "loose.png")
    (root / "labels.csv").write_text("a,b")
    (root / "bee" / "gone.png").symlink_to(root / "gone.png")
    os.mkfifo(root / "bee" / "pipe.png")
    monkeypatch.setattr(walk, "readable_suffixes", lambda: frozenset({".png"}))  # as where Pillow has no AVIF
    assert find_photos(root).skipped == {
        BESIDE: ["labels.csv", "loose.png"],
        OTHER: ["ape/README", "ape/a.jpg_original", "ape/a.pdf", "ape/notes.txt", "bee/pipe.png"],
        NOWHERE: ["bee/gone.png"],
        UNREADABLE: ["bee/x.heic", "bee/y.avif"],
    }


def test_links_are_followed_once(root, tmp_path):
    pool = tmp_path / "pool"
    photo(pool / "one" / "d.png")
    photo(pool / "one" / "deep" / "e.png")
    (root / "cat").symlink_to(pool / "one")  # a class
    (root / "ape" / "again").symlink_to(pool / "one")  # the same folder on another path
    (root / "bee" / "f.png").symlink_to(photo(pool / "f.png"))  # a file
    data = ImageFolder(root, GEOMETRY)
    assert list(data.classes) == ["ape", "bee", "cat"]
    assert data.ids == [*IDS[:2], "bee/c.png", "bee/f.png", "cat/d.png", "cat/deep/e.png"]
    assert data.skipped_files() == {TWICE: ["ape/again"]}


def test_a_linked_subfolder_is_followed(root, tmp_path):
    photo(tmp_path / "pool" / "d.png")
    (root / "bee" / "more").symlink_to(tmp_path / "pool")
    data = ImageFolder(root, GEOMETRY)
    assert data.ids == [*IDS, "bee/more/d.png"] and data.label("bee/more/d.png") == 1 and data.skipped_files() == {}


def test_links_back_are_no_loops_and_photos_count_where_they_really_are(root, tmp_path):
    (root / "ape" / "up").symlink_to(root)
    (root / "ape" / "above").symlink_to(tmp_path)
    (root / "ape" / "self").symlink_to(root / "ape")
    (root / "aaa").symlink_to(root / "bee")  # comes first in the alphabet, and is a link
    (root / "bee" / "circle").symlink_to("circle")
    data = ImageFolder(root, GEOMETRY)
    assert data.ids == IDS and list(data.classes) == ["aaa", "ape", "bee"]
    assert data.skipped_files() == {TWICE: ["aaa", "ape/above", "ape/self", "ape/up"], NOWHERE: ["bee/circle"]}


def test_the_order_of_ids_is_that_of_sorted_paths(root):
    """As before, so that the order of training does not move: a path sorts by its parts."""
    for name in ("ape/a/z.png", "ape/a-b.png", "ape/B.png", "ape/a.webp/y.png", "bee/10.png", "bee/9.png"):
        photo(root / name)
    expected = [p.relative_to(root).as_posix() for c in ("ape", "bee") for p in sorted((root / c).rglob("*.png"))]
    assert ImageFolder(root, GEOMETRY).ids == expected


@pytest.mark.parametrize("names", [("train", "val"), ("train",), ("Train", "validation")])
def test_folders_of_other_splits_are_no_classes(names, tmp_path):
    for name in names:
        photo(tmp_path / name / "ape" / "a.png")
    with pytest.raises(
        XaibenchError, match=f"has the splits {', '.join(names)}, not test; choose one by --dataset-option"
    ):
        ImageFolder(tmp_path, GEOMETRY, "test")
    photo(tmp_path / "other" / "a.png")
    assert len(ImageFolder(tmp_path, GEOMETRY, "test").classes) == len(names) + 1


def test_no_photo_at_all_says_what_is_there(tmp_path):
    (tmp_path / "ape").mkdir()
    (tmp_path / "ape" / "x.cr2").write_bytes(b"raw")
    with pytest.raises(
        XaibenchError, match=r"no photos in them .*: 1 no photo by its suffix or content \(ape/x\.cr2\)"
    ):
        ImageFolder(tmp_path, GEOMETRY)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read(root):
    (root / "bee").chmod(0)
    with pytest.raises(XaibenchError, match="bee cannot be read"):
        ImageFolder(root, GEOMETRY)


def test_hidden_files_are_not_counted_as_masks(cub):
    from xaibench.datasets.cub import CUB

    before = [piece.count for piece in CUB(cub, GEOMETRY).pieces()]
    (mask, *_) = (cub / "segmentations").rglob("*.png")
    photo(mask.with_name(f"._{mask.name}"))
    photo(cub / "segmentations" / "__MACOSX" / mask.name)
    assert [piece.count for piece in CUB(cub, GEOMETRY).pieces()] == before


def clutter(root: Path) -> None:
    photo(root / "ape" / ".ipynb_checkpoints" / "a-checkpoint.png")
    for number in range(5):
        (root / "ape" / f"{number}.txt").write_text("words")


LINES = ["1 hidden or system (ape/.ipynb_checkpoints)",
         "5 no photo by its suffix or content (ape/0.txt, ape/1.txt, ape/2.txt, ...)"]  # fmt: skip


def test_data_check_counts_and_names_what_is_left_out(command, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clutter(root)
    words = ("data", "check", "imagefolder", "--data-root", root, "--quiet")
    status, out, _ = command(*words)
    assert status == 0 and [line for line in out.splitlines() if "left out" in line] == [
        f"left out: {t}" for t in LINES
    ]
    found = json.loads(command(*words, "--format", "json")[1])
    assert {reason: len(names) for reason, names in found["skipped"].items()} == {HIDDEN: 1, OTHER: 5}
    shutil.rmtree(root / "ape" / ".ipynb_checkpoints")
    assert check_dataset(ImageFolder(root, GEOMETRY), 16).skipped == {OTHER: [f"ape/{n}.txt" for n in range(5)]}


def test_data_check_counts_photos_with_an_orientation(command, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (20, 30)).save(root / "bee" / "c.png", exif=exif)
    out = command("data", "check", "imagefolder", "--data-root", root, "--quiet")[1]
    assert "photos with an EXIF orientation: 1 turned upright" in out.splitlines()
    out = command("data", "check", "imagefolder", "--data-root", root, "--quiet", "--dataset-option", "exif=raw")[1]
    assert "photos with an EXIF orientation: 1 shown as stored" in out.splitlines()


@pytest.mark.process
def test_a_run_names_what_is_left_out_once_and_its_keys_do_not_move(command, home, root, tmp_path):
    import torch
    from xaibench_test_network import build

    from xaibench.models.state import save_state

    torch.manual_seed(0)
    save_state(build(2).eval(), tmp_path / "two.safetensors", {})
    words = ("run", "sds", "--model", "tiny", "--weights", "two.safetensors", "--dataset", "imagefolder", "--data-root",
             root, "--methods", "ixg", "--quiet", "--out", "results")  # fmt: skip
    status, _, err = command(*words)
    assert status == 0 and "left out" not in err
    clutter(root)
    status, out, err = command(*words)
    expected = f"warning: entries of imagefolder's folders are left out: {'; '.join(LINES)}"
    assert status == 0 and [line for line in err.splitlines() if "left out" in line] == [expected]
    assert "nothing was missing" in out, "the same key and the same photos"


def turn(path):
    exif = Image.Exif()
    exif[274] = 6
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)


@pytest.mark.process
def test_rows_of_a_photo_that_was_shown_raw_are_never_extended(command, home, root, tmp_path, monkeypatch):
    import torch
    from xaibench_test_network import build

    from xaibench.datasets.photos import Photos
    from xaibench.models.state import save_state

    torch.manual_seed(0)
    save_state(build(2).eval(), tmp_path / "two.safetensors", {})
    turn(root / "bee" / "c.png")
    words = ("run", "sds", "--model", "tiny", "--weights", "two.safetensors", "--dataset", "imagefolder", "--data-root",
             root, "--methods", "ixg", "--quiet", "--out", "results")  # fmt: skip
    with monkeypatch.context() as before:
        before.setattr(Photos, "unannotated", "raw")  # as earlier versions showed all photos
        assert command(*words)[0] == 0
    status, _, err = command(*words)
    assert status == 2 and err.count("\n") == 1
    assert "photo bee/c.png has changed since its rows were stored in results" in err
    assert "(it is turned upright by its EXIF orientation, as earlier versions did not do); restore it, or use" in err
    assert command(*words, "--dataset-option", "exif=raw")[0] == 0, "a key of its own"


def test_explain_shows_a_photo_upright(home, root, tmp_path):
    import torch
    from PIL import ImageOps
    from xaibench_test_network import build

    import xaibench
    from xaibench import registry
    from xaibench.datasets.images import displayed
    from xaibench.models.state import save_state

    torch.manual_seed(0)
    save_state(build(2).eval(), tmp_path / "two.safetensors", {})
    turn(root / "bee" / "c.png")
    words = {"model": "tiny", "weights": str(tmp_path / "two.safetensors"), "dataset": "imagefolder",
             "data_root": root, "methods": "ixg"}  # fmt: skip
    (seen,) = xaibench.explain(root / "bee" / "c.png", **words)
    with Image.open(root / "bee" / "c.png") as image:
        upright, stored = ImageOps.exif_transpose(image).convert("RGB"), image.convert("RGB")
    geometry = registry.card("dataset", "imagefolder").geometry
    np.testing.assert_array_equal(seen.image, displayed(upright, geometry))
    for photo in (root / "bee" / "c.png", "bee/c.png"):  # the file, and the image of the data set
        for exif, expected in (("raw", stored), ("upright", upright)):
            (seen,) = xaibench.explain(photo, dataset_options={"exif": exif}, **words)
            np.testing.assert_array_equal(seen.image, displayed(expected, geometry))
    with pytest.raises(XaibenchError, match=r"exif 'sideways' is unknown; .*known are auto, upright, raw"):
        xaibench.explain(root / "bee" / "c.png", dataset_options={"exif": "sideways"}, **words)
    with pytest.raises(
        XaibenchError, match="--dataset-option split is of the images of imagefolder, which need --data"
    ):
        xaibench.explain(root / "bee" / "c.png", dataset_options={"split": "val"}, **words | {"data_root": None})
