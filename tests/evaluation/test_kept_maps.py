"""Maps that are kept: any protocol takes them, nothing is computed twice, and no score changes by it."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import xaibench
from xaibench.errors import XaibenchError
from xaibench.evaluation import drawing, evaluator
from xaibench.evaluation.shards import cut
from xaibench.models.state import save_state
from xaibench.results.claims import Claims
from xaibench.results.completion import Completion
from xaibench.results.maps import MapIndex, MapStore
from xaibench.results.schema import row_table
from xaibench.results.store import Store

METHODS = "ixg,ig,ig-sg,grad-cam,rise,ablation-cam,random,constant"


def run(protocol: str, out: str, **changes):
    words = {
        "model": "tiny", "dataset": "mini", "methods": METHODS, "images": 8, "batch_size": 4, "chunk_size": 8,
        "out": out, "quiet": True, "keep_maps": True,
    }  # fmt: skip
    return xaibench.run(protocol, **words | changes)


def table(results) -> pd.DataFrame:
    columns = ["method", "image_id", "target", "metric", "score", "status", "prediction"]
    return results.rows[columns].sort_values(columns[:4]).reset_index(drop=True)


def cost(results) -> float:
    """Forward-equivalents of a run, of all its images together."""
    return (results.manifest.forward_equivalents or 0) * results.computed


@pytest.fixture
def made(monkeypatch) -> list[tuple[str, str, int]]:
    """The method, image and class of each map that is made."""
    found: list[tuple[str, str, int]] = []
    method_maps = drawing.method_maps

    def watched(card, e, parameters):
        found.extend((card.name, *pair) for pair in zip(e.pair_ids, e.targets.tolist(), strict=True))
        return method_maps(card, e, parameters)

    monkeypatch.setattr(drawing, "method_maps", watched)
    return found


def kept_names(out: str) -> list[tuple[str, str]]:
    """The folder and name of every map that is kept."""
    names = []
    for path in sorted(Path(out, "maps").rglob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            names += [(path.parent.name, name) for name in file.keys()]  # noqa: SIM118
    return names


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("keep", [True, False])
def test_another_protocol_costs_its_own_passes_alone_and_scores_the_same(precision, keep, home, made):
    run("sds", "a", precision=precision)
    names, count = kept_names("a"), len(made)
    assert len(names) == len(set(names)) == 8 * 8 == count
    fresh = run("epg,deletion", "fresh", precision=precision, keep_maps=False)
    own = run("epg,deletion", "own", precision=precision, keep_maps=False, methods="constant")
    assert cost(fresh) > 100 * 8, "integrated gradients and RISE cost many passes"
    made.clear()
    again = run("epg,deletion", "a", precision=precision, keep_maps=keep)
    assert not made and kept_names("a") == names, "nothing was made, and nothing stored twice"
    # deletion passes 27 inputs for each method and image beside those that all methods share
    assert cost(again) == cost(own) + 7 * 8 * 27
    pd.testing.assert_frame_equal(table(again), table(fresh), check_exact=True)
    assert again.manifest.status == "complete"
    assert run("epg,deletion", "a", precision=precision).computed == 0, "its maps are kept already"


@pytest.mark.parametrize(
    ("change", "shared"),
    [
        ({"settings": {"grid": 2}}, True),
        ({"profile": "paper", "methods": "ixg"}, True),  # the profile has no parameter of this method
        ({"profile": "paper", "methods": "ig"}, False),
        ({"settings": {"attribution_output": "probability"}, "methods": "ixg"}, False),
        ({"seed": 1, "methods": "ixg-sg"}, False),
        ({"precision": "float64", "methods": "ixg"}, False),
        ({"image_size": 64, "methods": "ixg"}, False),
        ({"dataset_options": {"background_correlation": 0.5}, "methods": "ixg"}, False),
    ],
)
def test_what_changes_a_map_is_in_its_key(change, shared, home, made):
    words = {"methods": change.get("methods", "ixg,ig"), "images": 4}
    run("sds", "a", **words)
    made.clear()
    found = run("sds", "a", **words | change)
    assert found.computed == 4 and bool(made) is not shared


def test_weights_of_another_training_are_other_maps(home, made):
    run("sds", "a", methods="ixg", images=4)
    made.clear()
    run("sds", "a", methods="ixg", images=4, training_seed=1)
    assert len(made) == 4


@pytest.mark.slow
def test_partly_kept_maps_are_completed_pair_by_pair(home, made):
    """Where the model is wrong, its prediction is another pair; further images have none yet."""
    first = run("sds", "a", images=5, batch_size=5)
    wrong = first.rows.query("method == 'ixg' and prediction != target and metric == 'spearman'")
    assert 0 < len(wrong) < 5
    made.clear()
    words = {"images": 8, "settings": {"target": "prediction"}, "batch_size": 8}
    found = run("ids", "a", **words)
    assert len(set(made)) == len(made) == 8 * (len(wrong) + 3)
    fresh = run("ids", "fresh", keep_maps=False, **words)
    a, b = table(found), table(fresh)
    assert a.drop(columns="score").equals(b.drop(columns="score"))
    # fewer pairs in a pass change a map by rounding, as other batch sizes do
    assert a["score"].tolist() == pytest.approx(b["score"].tolist(), rel=1e-5, nan_ok=True)
    names = kept_names("a")
    assert len(names) == len(set(names)) == 8 * (8 + len(wrong))


def test_maps_that_are_asked_for_later_are_made_without_scoring_again(home, made):
    first = run("sds,deletion", "a", methods="ixg,random,oracle", keep_maps=False)
    assert not Path("a/maps").exists()
    shards, count = sorted(Path("a/rows").glob("*")), len(first.rows)
    made.clear()
    later = run("sds,deletion", "a", methods="ixg,random,oracle")
    assert later.computed == 8 and len(made) == 16 and later.manifest.status == "complete"
    assert sorted(Path("a/rows").glob("*")) == shards and len(later.rows) == count, "no row is stored twice"
    # one pass for the prediction, one with a gradient for ixg, and the 16 cells and the image for the oracle
    assert later.manifest.forward_equivalents <= 1 + 3 + 17
    oracle = next(key for key, cell in Store("a").cells().items() if cell.method["name"] == "oracle")
    assert MapStore(Path("a")).find(oracle, later.images).keys() == set(later.images)
    assert run("sds,deletion", "a", methods="ixg,random,oracle").computed == 0


def test_an_oracle_is_the_protocols_own(home):
    run("sds", "a", methods="oracle")
    both = run("pointing-game", "a", methods="oracle")
    fresh = run("pointing-game", "fresh", methods="oracle", keep_maps=False)
    pd.testing.assert_frame_equal(table(both), table(fresh), check_exact=True)
    assert len({folder for folder, _ in kept_names("a")}) == 2


def spoil(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(data[:-3] + bytes([data[-3] ^ 64]) + data[-2:])


@pytest.mark.parametrize("how", ["cut", "empty", "one bit"])
def test_a_damaged_file_counts_as_missing_and_is_named(how, home, made):
    run("sds", "a", methods="ixg", images=4)
    (path,) = Path("a/maps").rglob("*.safetensors")
    whole = {name: values.clone() for name, values in load_file(path).items()}  # the file is mapped into memory
    spoil(path, how)
    made.clear()
    found = run("epg", "a", methods="ixg", images=4)
    assert len(made) == (1 if how == "one bit" else 4), "those of the file, or the map whose values have another digest"
    assert found.manifest.status == "complete"
    assert found.manifest.warnings == [f"{path} is damaged: its maps count as missing; remove it"]
    fresh = run("epg", "fresh", methods="ixg", images=4, keep_maps=False)
    assert table(found)["score"].tolist() == pytest.approx(table(fresh)["score"].tolist(), rel=1e-6)
    kept = MapStore(Path("a")).find(found.cells[0], found.images)
    assert {f"{i}#{t}" for i, targets in kept.items() for t in targets} == whole.keys()
    assert all(torch.allclose(v, whole[f"{i}#{t}"]) for i, targets in kept.items() for t, v in targets.items())


def test_a_damaged_file_does_not_stop_a_gallery(home):
    results = run("sds", "a", methods="ixg", images=4)
    (path,) = Path("a/maps").rglob("*.safetensors")
    spoil(path, "cut")
    assert MapStore(Path("a")).find(results.cells[0], results.images) == {}


def test_maps_of_a_photo_that_was_replaced_are_refused(home, photos):
    from xaibench_test_network import build

    save_state(build(2), Path("two.safetensors"), {})
    words = {"dataset": "imagefolder", "data_root": photos, "weights": "two.safetensors", "methods": "ixg", "images": 3}
    first = run("sds", "a", **words)
    path = photos / first.images[0]
    other = next(each for each in photos.rglob("*.png") if each != path)
    path.write_bytes(other.read_bytes())
    with pytest.raises(XaibenchError, match=rf"image {first.images[0]} has changed since its maps were kept in a.maps"):
        run("ids", "a", **words)


def test_maps_of_before_are_shown_and_complete_and_never_scored(home, made):
    """What earlier versions kept has no digest of its image, and lies under the key of its cell."""
    results = run("sds", "a", methods="ixg", images=4)
    (path,) = Path("a/maps").rglob("*.safetensors")
    tensors = load_file(path)
    shutil.rmtree("a/maps")
    old = Path("a/maps", results.cells[0])
    old.mkdir(parents=True)
    save_file(tensors, old / path.name)
    made.clear()
    assert run("sds", "a", methods="ixg", images=4).computed == 0
    assert len(MapStore(Path("a")).find(results.cells[0], results.images)) == 4
    run("epg", "a", methods="ixg", images=4)
    assert len(made) == 4


def test_an_image_without_anything_to_explain_needs_no_map(tmp_path):
    store, row = Store.create(tmp_path), {
        "cell": "c", "image_digest": "d", "unit": "class", "metric": "m", "protocol": "p", "dataset": "s", "model": "n",
    }  # fmt: skip
    store.append(
        row_table(
            [
                row | {"image_id": "none", "target": None, "status": "undefined-reference"},
                row | {"image_id": "two", "target": 1, "status": "ok", "score": 0.5},
                row | {"image_id": "two", "target": 4, "status": "ok", "score": 0.5},
            ]
        )
    )
    maps = MapStore(tmp_path)
    completion = Completion(store, ["c"], ["none", "two"], MapIndex(maps, {"c": "k"}), keep=True)
    assert completion.missing() == {"c": {"two"}}
    maps.save("k", ["two"], torch.tensor([1]), torch.ones(1, 1, 2, 2), ["d"])
    completion.refresh()
    assert completion.missing() == {"c": {"two"}}, "one of its two maps is missing"
    maps.save("k", ["two"], torch.tensor([4]), torch.ones(1, 1, 2, 2), ["d"])
    completion.refresh()
    assert completion.missing() == {}


def test_two_runs_at_once_make_no_map_twice(home, made, monkeypatch, capsys):
    """Whoever keeps maps claims them for a shard under their key: a run of another protocol waits, and takes them."""
    monkeypatch.setattr(evaluator, "WAIT_SECONDS", 0.05)
    first = run("sds", "a", methods="ixg")
    (key,) = {folder for folder, _ in kept_names("a")}
    shutil.copytree("a/maps", "kept")
    shutil.rmtree("a/maps")
    held = Claims(Path("a/locks"), [key], "another")
    assert held.take([key], cut(first.images, 4)[0].span)

    def other():
        shutil.copytree("kept", "a/maps")
        held.__exit__()

    free = threading.Timer(1.0, other)
    free.start()
    made.clear()
    found = run("epg", "a", methods="ixg", quiet=False)
    free.join()
    assert f"waiting for 8 images that are being computed by process {os.getpid()}, started" in capsys.readouterr().err
    assert not made and found.computed == 8 and found.manifest.status == "complete"
