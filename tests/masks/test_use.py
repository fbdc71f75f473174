"""Masks in a run: `obey` against superpixels by hand, keys and records that name them, and masks that do not fit."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import xaibench
from xaibench import registry
from xaibench.datasets.base import Dataset
from xaibench.datasets.open import open_dataset
from xaibench.datasets.photos import Photos
from xaibench.datasets.wrapped import Wrapped
from xaibench.errors import XaibenchError
from xaibench.masks.dataset import with_masks
from xaibench.masks.make import make_masks
from xaibench.masks.rle import digest_of
from xaibench.masks.store import SCHEMA, Header, Masks, add_rows, row
from xaibench.results.maps import MapStore
from xaibench.results.store import Store

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier

pytest.importorskip("skimage")


def mini():
    return open_dataset(registry.card("dataset", "mini"), None, {})


def obey(masks, out="results", images=4, **words):
    words = {"settings": {"level": "slic"}, "methods": "ixg,grad-cam", **words}
    return xaibench.run("obey", model="tiny", dataset="mini", masks=masks, out=out, images=images, quiet=True, **words)


def test_obey_against_superpixels_by_hand(slic):
    """wIoU is the best over masks of sum(p q) / sum(max(p, q)), with p the positive part of the map that was kept."""
    made = slic(segments=6)
    results = obey(made.path, keep_maps=True)
    rows = results.rows[results.rows["metric"] == "wiou"]
    assert len(rows) == 8 and (rows["status"] == "ok").all()
    masks, maps, data = Masks(made.path), MapStore(results.path), mini()
    for scored in rows.itertuples():
        (drawn,) = maps.load(scored.cell, scored.image_id).values()
        p = np.maximum(drawn.numpy().astype(np.float64), 0)
        best = max((p * q).sum() / np.maximum(p, q).sum() for q in masks.load(scored.image_id))
        assert scored.score == pytest.approx(best, rel=1e-6)
        assert scored.image_digest != data.digest(scored.image_id), "the digest names the masks too"
    assert list(obey(made.path).rows["score"]) == list(results.rows["score"])
    assert obey(made.path).computed == 0


def test_cells_and_the_command_name_the_masks(slic):
    made = slic(segments=6)
    results = obey(made.path)
    cell = Store.open(results.path).cell(results.cells[0])
    named = cell.context["dataset"]["masks"]
    assert named["maker"] == "slic" and named["settings"]["segments"] == 6 and "scikit-image" in named["packages"]
    assert cell.context["dataset"]["label"] == "mini (32 px, slic masks)"
    assert f"--masks {made.path}" in results.manifest.command


def test_other_masks_are_other_cells(slic, tmp_path):
    """Masks of another setting never meet the rows of the first; more images of the same ones do."""
    first = slic(4)
    keys = set(obey(first.path).cells)
    other = obey(slic(4, tmp_path / "other", segments=6).path)
    assert not keys & set(other.cells) and other.computed == 4
    assert not keys & set(obey(None, settings={}, methods="ixg").cells)
    slic(8)
    more = obey(first.path, images=8)
    assert set(more.cells) == keys and more.computed == 4
    elsewhere = shutil.copytree(first.path, tmp_path / "elsewhere")
    assert obey(elsewhere, images=8).computed == 0, "a copy is the same masks"


def test_the_same_making_with_other_masks_is_noticed(slic, tmp_path):
    """Rows that were stored with other masks of the same header are as if a photo had been replaced."""
    path = slic(4).path
    obey(path)
    image_id, file = mini().image_list(1)[0], path / "000000.parquet"
    add_rows(file, Header.read(file), [row(image_id, mini().digest(image_id), [[0, 1024]], 0)], {})
    with pytest.raises(XaibenchError, match=f"{image_id} has changed since its rows were stored"):
        obey(path)


@pytest.mark.slow
def test_all_levels_together(slic):
    """Beside the data set's own objects: the level of the maker, and `all` is the best of any level."""
    path = slic(segments=6).path
    data = with_masks(registry.card("dataset", "mini"), mini(), path)
    known = data.annotate(data.image_list(1)[0])
    assert list(known.objects) == ["creatures", "parts", "distractors", "slic"]

    def scores(masks, **settings):
        rows = obey(masks, settings=settings, methods="ixg").rows
        return rows[rows["metric"] == "wiou"].set_index("image_id")["score"].sort_index()

    own, added, both = scores(None), scores(path, level="slic"), scores(path)
    assert np.array_equal(both, np.maximum(own, added)) and (both > own).any()


@pytest.mark.slow
def test_a_data_set_that_knows_nothing_has_the_masks_alone(photos, home, tmp_path):
    card = registry.card("dataset", "imagefolder")
    data = open_dataset(card, photos, {})
    with pytest.raises(XaibenchError, match=r"needs objects, .* make some by `xaibench masks make`"):
        xaibench.run("obey", model="tiny", dataset="imagefolder", data_root=photos)
    made = make_masks("slic", dataset="imagefolder", data_root=photos, out=tmp_path / "m", quiet=True)
    wrapped = with_masks(card, data, made.path)
    assert wrapped.knows == {"objects"} and wrapped.on_disk
    image_id = wrapped.image_list(1)[0]
    known = wrapped.annotate(image_id)
    assert known.labels == (data.label(image_id),) and known.boxes.shape == (0, 4)
    assert known.instances.shape == (0, 224, 224) and list(known.objects) == ["slic"]
    first = sorted(photos.rglob("*.png"))[0]
    first.write_bytes((photos / "bee" / "3.png").read_bytes())
    for call_protocol in (wrapped.load, wrapped.digest):
        with pytest.raises(XaibenchError, match=r"masks of another image than ape/0\.png; make them again"):
            call_protocol("ape/0.png")


def test_masks_of_a_photo_that_was_shown_raw_are_made_again(photos, home, tmp_path, monkeypatch):
    """Earlier versions showed every photo as it is stored."""
    exif = Image.Exif()
    exif[274] = 3
    pixels = np.zeros((70, 90, 3), np.uint8)
    pixels[:40, :50] = 255
    Image.fromarray(pixels).save(photos / "ape" / "0.png", exif=exif)
    words = {"dataset": "imagefolder", "data_root": photos, "out": tmp_path / "m", "quiet": True}
    with monkeypatch.context() as before:
        before.setattr(Photos, "unannotated", "raw")
        old = Masks(make_masks("slic", **words).path).load("ape/0.png")
    card = registry.card("dataset", "imagefolder")
    wrapped = with_masks(card, open_dataset(card, photos, {}), tmp_path / "m")
    with pytest.raises(XaibenchError, match=r"masks of another image than ape/0\.png; make them again"):
        wrapped.load("ape/0.png")
    assert make_masks("slic", **words).computed == 1
    again = with_masks(card, open_dataset(card, photos, {}), tmp_path / "m")
    assert again.load("ape/0.png").digest == again.digest("ape/0.png")
    assert not np.array_equal(again.annotate("ape/0.png").objects["slic"], old)


def test_hidden_files_beside_masks_are_not_read(slic):
    path = slic(4).path
    (path / "._000000.parquet").write_bytes(b"as macOS leaves them on other file systems")
    assert len(Masks(path).entries) == 4 and slic(8).computed == 4


def test_the_wrapper_is_the_data_set_in_everything_else(slic):
    path, data = slic(8).path, mini()
    wrapped = pickle.loads(pickle.dumps(with_masks(registry.card("dataset", "mini"), data, path)))
    own = {name for name, value in vars(Dataset).items() if callable(value) and not name.startswith("_")}
    assert own - {"download"} <= set(vars(Wrapped)), "what a data set can do is handed on"
    image_id = data.image_list(1)[0]
    assert np.array_equal(wrapped.load(image_id).image, data.load(image_id).image)
    assert wrapped.load(image_id).digest == wrapped.digest(image_id) != data.digest(image_id)
    for call_protocol in ("label", "labels", "group"):
        assert getattr(wrapped, call_protocol)(image_id) == getattr(data, call_protocol)(image_id)
    assert np.array_equal(wrapped.draw(image_id, ["beak"]), data.draw(image_id, ["beak"]))
    assert wrapped.image_list(5) == data.image_list(5) and wrapped.classes == data.classes
    assert wrapped.pieces()[-1].count == 8
    beyond = data.image_list()[20]
    assert wrapped.load(beyond).digest == data.digest(beyond), "images besides those of the run may be shown"
    with pytest.raises(XaibenchError, match=f"has no masks of {beyond}"):
        wrapped.annotate(beyond)


def test_images_without_masks_are_counted(slic):
    path = slic(3).path
    with pytest.raises(XaibenchError) as error:
        obey(path, images=8)
    words = str(error.value)
    assert f"5 of 8 images have no masks in {path}; make them by `xaibench masks make --dataset mini" in words
    assert f"--with slic --images 8 --out {path}`" in words
    assert not Path("results").exists()


def test_masks_that_do_not_fit_are_refused(slic, tmp_path):
    path = slic(4).path
    with pytest.raises(XaibenchError, match="none of sds asks for objects; leave out --masks"):
        xaibench.run("sds", model="tiny", dataset="mini", masks=path)
    with pytest.raises(XaibenchError, match="are of data set mini, not critters"):
        xaibench.run("obey", model="tiny", dataset="critters", masks=path)
    with pytest.raises(XaibenchError, match=r"no masks in .*nowhere; make some by `xaibench masks make"):
        obey(tmp_path / "nowhere")
    card = registry.card("dataset", "mini")
    for change in ({"geometry": card.geometry.model_copy(update={"crop": 16})}, {"version": 2}):
        with pytest.raises(XaibenchError, match=f"are of another {next(iter(change))} of mini; make them again"):
            with_masks(card.model_copy(update=change), mini(), path)


def test_files_that_are_not_masks_are_refused(slic, tmp_path):
    path = slic(4).path
    file = path / "000000.parquet"
    for name, content, message in [
        ("broken", file.read_bytes()[:-40], "is not a whole Parquet file of masks"),
        ("text", b"no parquet", "is not a whole Parquet file of masks"),
    ]:
        (tmp_path / f"{name}.parquet").write_bytes(content)
        with pytest.raises(XaibenchError, match=message):
            Masks(tmp_path / f"{name}.parquet")
    table = pq.read_table(file)
    strange = {
        "is Parquet, but not of masks": table.replace_schema_metadata({}),
        "has other columns than masks": table.drop_columns(["dropped"]),
        "of version 2, newer than 1; update xaibench": table.replace_schema_metadata(
            {b"xaibench.masks": b'{"version": 2}'}
        ),
    }
    for message, changed in strange.items():
        pq.write_table(changed, tmp_path / "strange.parquet")
        with pytest.raises(XaibenchError, match=message):
            Masks(tmp_path / "strange.parquet")
    assert len(Masks(file).entries) == 4, "a file alone is as good as its folder"
    shutil.copy(file, path / "copy.parquet")
    with pytest.raises(XaibenchError, match="both have masks of"):
        Masks(path)
    shutil.copy(slic(4, tmp_path / "other", segments=5).path / "000000.parquet", path / "copy.parquet")
    with pytest.raises(XaibenchError, match="have masks that were made in different ways"):
        Masks(path)


@pytest.mark.parametrize(
    ("counts", "named", "message"),
    [
        ([[1, 1023]], "as before", "was changed: the masks of .* have another digest"),
        ([[5]], "true", "5 pixels are no mask"),
    ],
)
def test_damaged_masks_are_refused(counts, named, message, slic):
    path = slic(1).path / "000000.parquet"
    table = pq.read_table(path)
    (known,) = table.to_pylist()
    known |= {"counts": counts} | ({"digest": digest_of(counts)} if named == "true" else {})
    pq.write_table(pa.Table.from_pylist([known], schema=SCHEMA.with_metadata(table.schema.metadata)), path)
    with pytest.raises(XaibenchError, match=message):
        Masks(path).load(known["image_id"])


@pytest.mark.slow
def test_a_gallery_of_a_run_with_masks(slic, command):
    """Maps are made again from the record, with the masks where its command says; without them it says so."""
    path = slic(4).path
    obey(path, methods="ixg")
    status, out, err = command("show", "run", "results", "--images", 1, "--out", "g.png", "--quiet")
    assert status == 0 and "made again with the same weights" in out, err
    path.rename(path.with_name("moved"))
    status, _, err = command("show", "run", "results", "--images", 1, "--out", "g.png", "--quiet")
    assert status == 2 and "no masks in" in err and len(err.splitlines()) == 1
