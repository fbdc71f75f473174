"""Segment Anything through transformers: the code path with networks that were never trained, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from xaibench import registry
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError
from xaibench.masks.make import make_masks
from xaibench.masks.maker import Tools
from xaibench.masks.store import Masks
from xaibench.models.state import file_digest

transformers = pytest.importorskip("transformers")
LOOSE = {"points_per_side": 5, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}


def asked(folder, kind: str, settings: dict, image: np.ndarray) -> np.ndarray:
    """Masks by transformers' own pipeline, made from the folder alone and called as its documentation says."""
    network, processor = {
        "sam": (transformers.SamModel, transformers.SamImageProcessor),
        "sam2": (transformers.Sam2Model, transformers.Sam2ImageProcessor),
    }[kind]
    generate = transformers.pipeline(
        "mask-generation", model=network.from_pretrained(folder).eval(),
        image_processor=processor.from_pretrained(folder), device="cpu",
    )  # fmt: skip
    found = generate(
        Image.fromarray(image), points_per_crop=settings["points_per_side"],
        pred_iou_thresh=settings["pred_iou_thresh"], stability_score_thresh=settings["stability_score_thresh"],
        crops_n_layers=settings.get("crop_n_layers", 0), crops_nms_thresh=settings["box_nms_thresh"],
    )["masks"]  # fmt: skip
    return np.array([mask.numpy() for mask in found], dtype=bool).reshape(-1, *image.shape[:2])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sam", "sam2"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param({"pred_iou_thresh": 0.3, "box_nms_thresh": 0.7}, marks=pytest.mark.process),
        pytest.param({"crop_n_layers": 1}, marks=pytest.mark.process),
    ],
)
def test_masks_are_those_of_the_pipeline_without_the_small_ones(kind, changes, networks, home, tmp_path):
    settings, folder = LOOSE | changes, networks[kind]
    data = open_dataset(registry.card("dataset", "mini"), None, {})
    all_of_them = {i: asked(folder, kind, settings, data.load(i).image) for i in data.image_list(2)}
    areas = np.sort(np.concatenate([masks.sum((1, 2)) for masks in all_of_them.values()]))
    least = float(areas[len(areas) // 2] / 1024)
    made = make_masks(
        kind, dataset="mini", images=2, out=tmp_path / "m", settings=settings | {"min_area": least},
        tools=Tools(str(folder), chunk=7), quiet=True,
    )  # fmt: skip
    found, kept = Masks(made.path), 0
    for image_id, masks in all_of_them.items():
        wanted = masks[masks.sum((1, 2)) >= max(1, areas[len(areas) // 2])]
        assert np.array_equal(found.load(image_id), wanted)
        kept += len(wanted)
    assert kept > 0 and made.dropped == len(areas) - kept
    if not changes:
        assert made.dropped > 0 and any(found.load(i).sum(0).max() > 1 for i in all_of_them), "masks may overlap"


@pytest.mark.slow
@pytest.mark.process
def test_the_header_names_settings_weights_and_version(networks, home, tmp_path):
    made = make_masks(
        "sam", dataset="mini", images=1, out=tmp_path / "m", tools=Tools(str(networks["sam"])), quiet=True,
        settings={"crop_n_layers": 1},
    )  # fmt: skip
    header = Masks(made.path).header
    assert header.settings == {
        "points_per_side": 32, "pred_iou_thresh": 0.8, "stability_score_thresh": 0.8, "crop_n_layers": 1,
        "box_nms_thresh": 0.7, "min_area": 0.01,
    }, "ObEy's, with a point for each displayed pixel"  # fmt: skip
    assert header.weights == file_digest(networks["sam"] / "model.safetensors")
    assert header.packages == {"transformers": transformers.__version__}
    assert str(networks["sam"]) not in json.dumps(header.key_fields), "another place is the same network"


def test_nothing_is_printed_but_our_own_words(networks, command, home):
    status, _, err = command(
        "masks", "make", "--dataset", "mini", "--with", "sam", "--model", networks["sam"], "--images", 1, "--out", "m",
        "--setting", "points_per_side=2", "--quiet",
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert transformers.utils.logging.is_progress_bar_enabled()


def refusal(name: str, model: object, **words) -> str:
    with pytest.raises(XaibenchError) as error:
        make_masks(name, dataset="mini", images=1, out="m", tools=Tools(str(model), **words), quiet=True)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_a_sam2_that_was_saved_as_one_for_videos_is_taken(networks, home, tmp_path):
    """So are those that are published; their images are made as those of the same network without that."""
    video = shutil.copytree(networks["sam2"], tmp_path / "video")
    config = json.loads((video / "config.json").read_text()) | {"model_type": "sam2_video"}
    (video / "config.json").write_text(json.dumps(config))
    found = []
    for number, folder in enumerate((networks["sam2"], video)):
        made = make_masks(
            "sam2", dataset="mini", images=1, out=tmp_path / str(number), settings=LOOSE, tools=Tools(str(folder)),
            quiet=True,
        )  # fmt: skip
        found.append(Masks(made.path))
    (image_id,) = found[0].entries
    assert found[0].header.key_fields == found[1].header.key_fields and len(found[0].load(image_id))
    assert np.array_equal(found[0].load(image_id), found[1].load(image_id))


def test_networks_that_do_not_fit_are_refused(networks, home, tmp_path):
    assert "is a network of kind sam2, not sam" in refusal("sam", networks["sam2"])
    broken = shutil.copytree(networks["sam"], tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights")
    assert "cannot be opened as sam" in refusal("sam", broken)
    (broken / "model.safetensors").unlink()
    assert "cannot be opened as sam" in refusal("sam", broken)
    (broken / "config.json").unlink()
    assert "cannot be opened as sam" in refusal("sam", broken)


def test_a_network_that_lacks_weights_is_not_filled_up_by_chance(networks, home, tmp_path):
    from safetensors.torch import load_file, save_file

    partial = shutil.copytree(networks["sam"], tmp_path / "partial")
    tensors = load_file(partial / "model.safetensors")
    tensors.pop("mask_decoder.iou_token.weight")
    save_file(tensors, partial / "model.safetensors", {"format": "pt"})
    assert "has no fitting weights for mask_decoder.iou_token.weight (1 in all)" in refusal("sam", partial)


def test_weights_that_are_not_here_are_asked_for(home, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    words = refusal("sam", "facebook/sam-vit-huge")
    assert "is not on this machine" in words and "--download" in words and "--with slic" in words
    assert "is not on this machine" in refusal("sam", "no folder/of/this name")


def test_a_missing_package_names_its_extra(home, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "pip install 'xaibench[sam]'" in refusal("sam2", "anything")
