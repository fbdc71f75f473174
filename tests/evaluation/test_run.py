"""Runs from end to end on a tiny network: what is stored, what is computed again, and what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import xaibench
from xaibench.errors import XaibenchError
from xaibench.evaluation.api import MethodFailed
from xaibench.models.trained import trained_weights

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier

METHODS = "ixg,ig-sg-abs,rise,grad-cam,random,constant,oracle"


def small_run(out, **changes):
    arguments = {"model": "tiny", "dataset": "mini", "methods": METHODS, "out": out, "images": 8} | changes
    return xaibench.run(arguments.pop("protocols", "idsds"), **arguments)


def table(results) -> pd.DataFrame:
    columns = ["method", "image_id", "target", "score", "status", "prediction", "image_digest"]
    return results.rows[columns].sort_values(["method", "image_id"]).reset_index(drop=True)


def aligned_file():
    """The weights that runs on `mini` with the default grid use."""
    return next(w.path for w in trained_weights("tiny", "mini") if (w.header["alignment"] or {}).get("grid") == 4)


def test_one_row_per_image_and_method(home):
    results = small_run("a")
    rows = results.rows
    assert len(rows) == 7 * 8 and rows["image_id"].nunique() == 8
    assert set(rows[rows["method"] == "constant"]["status"]) == {"undefined-map"}
    assert rows[rows["method"] == "oracle"]["score"].tolist() == pytest.approx([1.0] * 8)
    assert rows[rows["status"] == "ok"]["score"].between(-1, 1).all()
    assert results.manifest.status == "complete" and results.computed == 8


def test_default_methods_are_the_papers_and_the_controls(home):
    results = small_run("a", methods=None)
    names = set(results.rows["method"])
    assert len(names) == 19 + 5
    assert set(results.manifest.skipped) == {"rollout", "chefer-lrp", "b-cos", "bagnet"}
    board = results.leaderboard().table
    assert board[board["rank"].notna()]["kind"].unique().tolist() == ["method"]
    assert sorted(board["rank"].dropna())[0] == 1


def test_nothing_is_computed_twice_and_more_images_only_what_is_missing(home):
    assert small_run("a").computed == 8
    assert small_run("a").computed == 0
    more = small_run("a", images=12)
    assert more.computed == 4
    assert len(more.rows) == 7 * 12
    assert small_run("a", methods="ixg,saliency", images=12).computed == 12  # one new method, all of its images
    assert small_run("a", methods="ixg,saliency", images=12).computed == 0


def test_fewer_images_than_asked_for_are_said(home):
    assert small_run("a", methods="ixg", images=500).manifest.warnings == ["mini has 40 images, not the 500 asked for"]


def test_first_images_are_a_prefix_of_more(home):
    few, many = small_run("a", images=5), small_run("b", images=9)
    assert many.images[:5] == few.images
    first = table(many)
    pd.testing.assert_frame_equal(
        table(few), first[first["image_id"].isin(few.images)].reset_index(drop=True), rtol=1e-5
    )


def test_a_killed_run_resumes_to_identical_rows(home, monkeypatch):
    from xaibench.datasets.critters import Critters

    whole = table(small_run("whole", batch_size=2))
    load, loaded = Critters.load, []

    def killed(self, image_id):
        loaded.append(image_id)
        if len(loaded) == 6:
            raise KeyboardInterrupt
        return load(self, image_id)

    monkeypatch.setattr(Critters, "load", killed)
    with pytest.raises(KeyboardInterrupt):
        small_run("killed", batch_size=2)
    monkeypatch.setattr(Critters, "load", load)
    resumed = small_run("killed", batch_size=2)
    assert resumed.computed == 4  # two batches of two were stored
    pd.testing.assert_frame_equal(table(resumed), whole, check_exact=True)


KILLED = """
import os, signal, sys
import xaibench, xaibench.evaluation.executor
from xaibench.datasets.critters import Critters

xaibench.evaluation.executor.FLUSH_SECONDS = 0
load, loaded = Critters.load, []

def die(self, image_id):
    loaded.append(image_id)
    if len(loaded) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return load(self, image_id)

Critters.load = die
xaibench.run("idsds", model="tiny", dataset="mini", methods=sys.argv[1], out="killed", images=8, batch_size=2)
"""


def test_a_run_ended_by_sigkill_resumes_to_identical_rows(home):
    whole = table(small_run("whole", batch_size=2))
    path = os.pathsep.join([str(home), str(Path(xaibench.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", KILLED, METHODS], env=os.environ | {"PYTHONPATH": path}, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    resumed = small_run("killed", batch_size=2)
    assert resumed.computed == 4
    pd.testing.assert_frame_equal(table(resumed), whole, check_exact=True)


@pytest.mark.parametrize("sizes", [(1, 1), (7, 5), (8, 64)])
def test_scores_do_not_depend_on_batch_or_chunk(home, sizes):
    batch, chunk = sizes
    reference = table(small_run("a", precision="float64", batch_size=3, chunk_size=7))
    other = table(small_run("b", precision="float64", batch_size=batch, chunk_size=chunk))
    pd.testing.assert_frame_equal(reference, other, rtol=1e-9)


def test_float32_batches_flip_ranks_only_between_near_ties(home):
    a, b = (table(small_run(str(n), batch_size=n, chunk_size=4 * n))["score"].dropna() for n in (1, 8))
    swaps = np.abs(a - b).to_numpy() / 0.003  # one swap of neighbours moves a correlation of 16 cells by 6/(16*255)*2
    assert (swaps > 1.5).mean() < 0.02


def test_accuracy_is_that_of_a_direct_pass(home):
    from xaibench import registry
    from xaibench.datasets.open import open_dataset
    from xaibench.models.open import build_model, load_weights, model_card
    from xaibench.models.state import read_state

    results = small_run("a", methods="ixg", images=40)
    card = registry.card("dataset", "mini")
    data = open_dataset(card, None, {})
    network = model_card("tiny")
    model = load_weights(build_model(network, 10, card.geometry), read_state(aligned_file()), "aligned", network)
    samples = [data.load(i) for i in data.ids]
    with torch.no_grad():
        predicted = model.net.eval()(model.encoding(np.stack([s.image for s in samples]))).argmax(1)
    right = int((predicted == torch.tensor([s.label for s in samples])).sum())
    assert results.manifest.accuracy == {"correct": right, "images": 40}


def test_one_run_may_hold_several_protocols(home):
    results = small_run("a", protocols="sds,idsds", weights="aligned", methods="ixg,oracle")
    a, b = (results.rows.query("protocol == @p").sort_values(["method", "image_id"]) for p in ("sds", "idsds"))
    assert a["score"].tolist() == b["score"].tolist()  # the same weights and settings, so the same numbers
    together = small_run("b", protocols="sds,idsds", methods="ixg,oracle")
    assert together.cells == results.cells, "a run has one set of weights: the aligned ones where a protocol needs them"


def test_target_prediction_explains_what_the_model_says(home):
    results = small_run("a", settings={"target": "prediction"}, methods="ixg")
    assert (results.rows["target"] == results.rows["prediction"]).all()


def test_settings_and_seed_make_other_cells(home):
    base = small_run("a", methods="ixg")
    for changes in (
        {"settings": {"drop_output": "probability"}},
        {"seed": 1},
        {"profile": "paper"},
        {"precision": "float64"},
    ):
        assert not set(small_run("a", methods="ixg", **changes).cells) & set(base.cells), changes


def test_maps_are_kept_when_asked_for_and_made_up_for_later(home):
    from xaibench.results.maps import MapStore

    small_run("a", methods="grad-cam")
    kept = small_run("a", methods="grad-cam", keep_maps=True)
    assert kept.computed == 8  # the rows were there, the maps were not
    maps = MapStore(kept.path).load(kept.cells[0], kept.images[0])
    row = kept.rows.set_index("image_id").loc[kept.images[0]]
    assert list(maps) == [row["target"]] and maps[row["target"]].shape == (32, 32)
    assert small_run("a", methods="grad-cam", keep_maps=True).computed == 0


def test_weights_without_alignment_are_refused_by_idsds(home):
    with pytest.raises(XaibenchError, match=r"not trained on deletions.*xaibench train patch-deletion --model tiny"):
        small_run("a", weights="plain")
    aligned = small_run("a", methods="ixg")
    file = aligned_file()
    assert aligned.computed == 8
    with pytest.raises(XaibenchError, match=r"trained on others \(grid 4, zero baseline"):
        small_run("a", weights=str(file), settings={"grid": 2})
    by_path = small_run("a", methods="ixg", weights=str(file))
    assert by_path.cells == aligned.cells and by_path.computed == 0  # the same weights, however they were named


def test_a_failing_method_does_not_lose_the_others(home, tmp_path):
    plugin = tmp_path / "broken.py"
    plugin.write_text(
        "import xaibench\n@xaibench.method('broken')\ndef broken(e):\n    raise RuntimeError('no such luck')\n"
    )
    with pytest.raises(
        MethodFailed, match=r"broken failed: RuntimeError: no such luck \(broken.py, line 4\);"
    ) as caught:
        small_run("a", methods="ixg,broken", plugins=[plugin])
    rows = caught.value.results.rows
    assert set(rows["method"]) == {"ixg"} and len(rows) == 8
    assert caught.value.results.manifest.status == "failed"


def test_a_plugin_is_ranked_and_an_edited_one_is_another_cell(home, tmp_path):
    plugin = tmp_path / "mine.py"
    text = "import xaibench\n@xaibench.method('mine')\ndef mine(e):\n    return e.inputs * e.gradient() * FACTOR\n"
    plugin.write_text(text.replace("FACTOR", "1"))
    first = small_run("a", methods="ixg,mine", plugins=[plugin])
    scores = first.rows.pivot(index="image_id", columns="method", values="score")
    assert (scores["mine"] == scores["ixg"]).all()
    plugin.write_text(text.replace("FACTOR", "-1"))
    second = small_run("a", methods="ixg,mine", plugins=[plugin])
    scores = second.rows.pivot(index="image_id", columns="method", values="score")
    assert second.computed == 8 and scores["mine"].tolist() == pytest.approx((-scores["ixg"]).tolist())


def test_photos_from_a_folder_and_a_replaced_photo(home, photos):
    from PIL import Image

    from xaibench import registry
    from xaibench.models.open import build_model, model_card
    from xaibench.models.state import save_state

    geometry = registry.card("dataset", "imagefolder").geometry
    for count, name in ((2, "two"), (9, "nine")):
        save_state(build_model(model_card("tiny"), count, geometry).net, home / f"{name}.safetensors", {})
    arguments = {
        "protocols": "sds",
        "dataset": "imagefolder",
        "data_root": photos,
        "weights": str(home / "two.safetensors"),
    }
    arguments |= {"methods": "ixg,random", "images": 6}
    results = small_run("a", **arguments)
    assert results.computed == 6 and set(results.rows["target"]) == {0, 1}
    other = arguments | {"weights": str(home / "nine.safetensors")}
    with pytest.raises(XaibenchError, match=r"for 9 classes, imagefolder has 2; .* --target prediction"):
        small_run("a", **other)
    said = small_run("a", settings={"target": "prediction"}, **other)
    assert set(said.rows["target"]) <= set(range(9)) and said.manifest.accuracy is None
    Image.new("RGB", (80, 80)).save(photos / results.images[0])
    with pytest.raises(XaibenchError, match=f"photo {results.images[0]} has changed"):
        small_run("a", **arguments)


def test_another_image_size_has_weights_keys_and_maps_of_its_own(home):
    options = {"model": "tiny", "dataset": "mini", "methods": ["ixg"], "images": 2, "weights": "plain", "out": "a"}
    usual, large = (xaibench.run("sds", **options, image_size=side) for side in (None, 48))
    assert usual.leaderboard().board != large.leaderboard().board and "48 px" in large.leaderboard().title
    assert xaibench.run("sds", **options, image_size=32).computed == 0, "the usual size, said aloud"
    sizes = {w.header["geometry"]["crop"] for w in trained_weights("tiny", "mini") if not w.header["alignment"]}
    assert sizes >= {32, 48}  # other tests may have left others
    with pytest.raises(XaibenchError, match="--image-size 8: images have at least 16"):
        xaibench.run("sds", **options, image_size=8)
