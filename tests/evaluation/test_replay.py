"""The maps of a stored run: those that were kept, the same ones made again, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

import xaibench
from xaibench.errors import XaibenchError
from xaibench.evaluation.recorded import RecordedPlaces
from xaibench.evaluation.replay import Places, replay
from xaibench.models.state import save_state
from xaibench.results.manifest import RunManifest, load_runs
from xaibench.results.maps import MapStore
from xaibench.results.store import Store

METHODS = ["ixg-sg", "rise", "grad-cam", "oracle"]


def run_of(out, **changes):
    words = {"model": "tiny", "dataset": "mini", "methods": METHODS, "images": 5, "out": out, "batch_size": 1}
    return xaibench.run("idsds", **(words | {"quiet": True} | changes))


def again(out, places=None, **changes):
    """Replays a whole run."""
    store = Store.open(out)
    cells = list(store.cells().values())
    rows = store.rows()
    images = dict(zip(rows["image_id"], rows["image_digest"], strict=True))
    return replay(store, load_runs(store)[-1], cells, images | changes, places or Places(), device="cpu", quiet=True)


def test_maps_made_again_are_the_kept_ones(home):
    run_of("kept", keep_maps=True)
    kept = again("kept")
    assert kept.kept and len(kept.maps) == 4 and all(len(found) == 5 for found in kept.maps.values())
    shutil.copytree("kept", "bare")
    shutil.rmtree("bare/maps")
    made = again("bare")
    assert not made.kept
    for key, images in kept.maps.items():
        for image_id, targets in images.items():
            assert made.maps[key][image_id].keys() == targets.keys()
            for target, values in targets.items():
                assert torch.equal(made.maps[key][image_id][target], values)
    assert not list(Store.open("bare").root.glob("maps/*")), "looking stores nothing"


def test_other_batches_change_maps_by_rounding_only(home):
    run_of("a", keep_maps=True, batch_size=4)
    kept = again("a")
    shutil.rmtree("a/maps")
    made = again("a")
    for key, images in kept.maps.items():
        for image_id, targets in images.items():
            for target, values in targets.items():
                assert torch.allclose(made.maps[key][image_id][target], values, atol=1e-5 * values.abs().max())


def test_only_what_is_missing_is_made(home):
    run_of("a", keep_maps=True)
    store = Store.open("a")
    gone = next(cell for cell in store.cells().values() if cell.method_name == "grad-cam")
    shutil.rmtree(f"a/maps/{gone.maps}")
    found = again("a")
    assert not found.kept and len(found.maps[gone.key]) == 5


def test_one_damaged_map_of_an_image_with_several_is_made_again(home):
    """Its other maps are kept, so the image has some, but not the one of its row."""
    run_of("a", keep_maps=True, methods=["ixg", "grad-cam"])
    kept, store = again("a"), Store.open("a")
    cell = next(cell for cell in store.cells().values() if cell.method_name == "grad-cam")
    for path in store.root.glob(f"maps/{cell.maps}/*.safetensors"):
        tensors = load_file(path)
        other = {f"{name.rpartition('#')[0]}#9": values for name, values in tensors.items()}  # of another class
        save_file(other, path)
    made = again("a")
    assert not made.kept
    for image_id, targets in kept.maps[cell.key].items():
        for target, values in targets.items():
            assert torch.allclose(made.maps[cell.key][image_id][target], values, atol=1e-5 * values.abs().max())


def test_rows_of_a_class_that_nothing_explains_are_one_line(home, command):
    run_of("a", keep_maps=True, methods=["ixg", "grad-cam"])
    (path,) = Store.open("a").shards()
    table = pq.read_table(path)
    far = pa.array([2**31 - 1] * table.num_rows, pa.int32())
    pq.write_table(table.set_column(table.schema.get_field_index("target"), table.schema.field("target"), far), path)
    status, _, err = command("show", "run", "a", "--images", "1", "--out", "g.png")
    assert (status, "there is no map of" in err, "class 2147483647" in err) == (2, True, True)
    assert not Path("g.png").exists()


@pytest.mark.process
def test_an_image_without_a_prediction_is_drawn(home, command):
    run_of("a", keep_maps=True, methods=["ixg", "grad-cam"])
    for path in Store.open("a").shards():
        table = pq.read_table(path)
        place, none = table.schema.get_field_index("prediction"), pa.nulls(table.num_rows, pa.int32())
        pq.write_table(table.set_column(place, table.schema.field("prediction"), none), path)
    assert command("show", "run", "a", "--images", "1", "--out", "g.png")[0] == 0 and Path("g.png").exists()


@pytest.mark.process
def test_settings_of_the_run_come_back_from_its_cells(home):
    settings = {"grid": 2, "target": "prediction", "attribution_output": "probability"}
    run_of("a", settings=settings, seed=3, profile="paper", methods=["ixg-sg", "oracle"], keep_maps=True)
    kept = again("a")
    shutil.rmtree("a/maps")
    made = again("a")
    for key, images in kept.maps.items():
        for image_id, targets in images.items():
            assert all(torch.equal(made.maps[key][image_id][target], values) for target, values in targets.items())


def test_a_replaced_photo_is_refused(home):
    results = run_of("a", methods=["ixg"])
    with pytest.raises(XaibenchError, match="is another than when its rows were stored"):
        again("a", **{results.images[0]: "00"})


@pytest.mark.process
def test_changed_or_missing_weights_are_refused(home, photos, tmp_path):
    from xaibench_test_network import build

    def weights(seed: int) -> None:
        torch.manual_seed(seed)
        save_state(build(2), tmp_path / "two.safetensors", {})

    weights(0)
    xaibench.run(
        "sds", model="tiny", dataset="imagefolder", data_root=photos, weights=str(tmp_path / "two.safetensors"),
        methods="ixg", images=3, out="a", quiet=True, command="xaibench run sds --model tiny --dataset imagefolder "
        f"--data-root={photos} --weights {tmp_path / 'two.safetensors'}",
    )  # fmt: skip
    assert len(again("a").samples) == 3
    shutil.copy("two.safetensors", "moved.safetensors")
    weights(1)
    with pytest.raises(XaibenchError, match=r"cannot be made again: its weights .* are not .*two.*--weights"):
        again("a")
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(XaibenchError, match=r"\(--keep-maps\).*its weights .* are no longer here"):
        again("a")
    assert len(again("a", Places(weights=tmp_path / "moved.safetensors")).samples) == 3
    weights(1)
    with pytest.raises(XaibenchError, match="are not the weights of this run"):
        again("a", Places(weights=tmp_path / "two.safetensors"))
    photos.rename(tmp_path / "elsewhere")
    with pytest.raises(XaibenchError, match="name it by --data-root"):
        again("a")
    places = Places(data_root=tmp_path / "elsewhere", weights=tmp_path / "moved.safetensors")
    assert len(again("a", places).samples) == 3


PLUGIN = "import xaibench\n@xaibench.method('replayed')\ndef replayed(evidence):\n    return evidence.inputs * {}\n"


def test_an_edited_plug_in_is_refused_and_none_is_run_unasked(home, tmp_path):
    from xaibench import registry

    path = tmp_path / "mine.py"
    path.write_text(PLUGIN.format(2))
    run_of("a", methods=["replayed"], plugins=[path], command=f"xaibench run idsds --model tiny --plugin {path}")
    for name in [name for name in registry._decorated if name[1] == "replayed"]:
        registry._decorated.pop(name)  # as in another process
    with pytest.raises(XaibenchError, match=r"unknown method 'replayed'.*name the file of its plug-in by --plugin"):
        again("a")
    assert again("a", Places(plugins=[path])).maps
    path.write_text(PLUGIN.format(3))
    with pytest.raises(XaibenchError, match="its method replayed is another now"):
        again("a", Places(plugins=[path]))


def test_the_command_of_an_old_record_is_only_read():
    old = RecordedPlaces.of_command("xaibench run sds --data-root 'my photos' --weights=a.pth --weights=b.pth")
    assert old == RecordedPlaces(data_root=Path("my photos"), weights=Path("b.pth"))
    assert RecordedPlaces.of_command("xaibench run 'unclosed") == RecordedPlaces()


def test_the_request_in_a_record_counts_and_not_its_command(home, photos):
    run = RunManifest("xaibench run sds --weights of-the-command.pth", {
        "protocols": ["sds"], "model": "tiny", "data_root": str(photos), "weights": "of-the-request.pth",
    })  # fmt: skip
    assert RecordedPlaces.of(run) == RecordedPlaces(photos, None, Path("of-the-request.pth"))
    run.config["of_tomorrow"] = 3  # a field of a newer xaibench
    assert RecordedPlaces.of(run).data_root == photos
    run.config["images"] = 0
    with pytest.raises(XaibenchError, match=rf"the record of run {run.run}: images is at least 1, not 0"):
        RecordedPlaces.of(run)


def test_maps_of_several_images_are_found_at_once(tmp_path):
    store, maps = MapStore(tmp_path), torch.rand(3, 1, 2, 2)
    store.save("cell", ["a#b.png", "c.png", "a#b.png"], torch.tensor([1, 2, 3]), maps)
    found = store.find("cell", ["a#b.png", "none.png"])
    assert list(found) == ["a#b.png"] and torch.equal(found["a#b.png"][3], maps[2, 0])
    assert store.load("cell", "c.png").keys() == {2} and store.find("other", ["c.png"]) == {}
