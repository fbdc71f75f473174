"""Models by name, and where their weights come from."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from xaibench import registry
from xaibench.cards import Alignment, Geometry
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding
from xaibench.models.download import address, stored_at
from xaibench.models.open import build_model, load_weights, model_card
from xaibench.models.probe import map_size
from xaibench.models.state import read_state, save_state
from xaibench.training.find import WeightsRequest, find_weights, missing_weights

NAMES = [n for n in registry.names("model") if "torchvision" in registry.card("model", n).tags]  # others: own files
BIG = {"vgg11", "vgg13", "vgg16", "vgg19", "resnet152", "wide_resnet50_2"}
BIG |= {f"{name}_bn" for name in BIG if name.startswith("vgg")} | {"resnet101", "convnext_tiny"}
IMAGENET = Geometry(resize=256, crop=224)
ALIGNMENT = {"grid": 4, "baseline": "zero", "probability": 0.5}
PARTS = {"kind": "parts", "probability": 0.2}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in BIG else ()) for n in NAMES])
def test_every_card_builds_its_network(name):
    card = model_card(name)
    model = build_model(card, 1000, Geometry(resize=64, crop=64))
    with torch.no_grad():
        assert model.net(torch.zeros(2, 3, 64, 64)).shape == (2, 1000)
    assert model.cam_layer == card.cam_layer and model.cam_module is model.net.get_submodule(card.cam_layer)
    assert not model.net.training and min(model.cam_grid) >= 1 and model.name == name


@pytest.mark.parametrize("name", NAMES)
def test_published_weights_exist_in_torchvisions_list(name):
    import torchvision

    card = model_card(name)
    enum = torchvision.models.get_weight(card.plain.enum)
    builder = torchvision.models.get_model_builder(card.parameters["builder"])
    assert enum in torchvision.models.get_model_weights(builder) and card.plain.enum.endswith("IMAGENET1K_V1")
    url, sha256 = address(card.plain)
    assert url == enum.url and re.fullmatch("[0-9a-f]{8}", sha256) and sha256 in url
    assert card.plain.dataset == "imagenet" and card.plain.alignment is None


@pytest.mark.parametrize("name", NAMES)
def test_encodings_are_those_of_the_published_weights(name):
    import torchvision

    card = model_card(name)
    preset = torchvision.models.get_weight(card.plain.enum).transforms()
    assert (card.mean, card.std) == (tuple(preset.mean), tuple(preset.std))


def test_the_authors_aligned_weights_are_named_as_the_sheet_says():
    base = "https://download.visinf.tu-darmstadt.de/data/2024-neurips-hesse-idsds/models_finetuned/"
    resnets = ["resnet18", "resnet50", "resnet101", "resnet152", "wide_resnet50_2"]
    published = [*resnets, "vgg11", "vgg13", "vgg16", "vgg19", "vgg16_bn"]
    cards = {name: model_card(name).aligned for name in NAMES}
    assert sorted(name for name, aligned in cards.items() if aligned) == sorted(published)
    for name in published:
        url = f"{base}{name}_imagenet1000_lr0.001_epochs30_step10_checkpoint_best.pth.tar"
        assert address(cards[name])[0] == url and cards[name].alignment.key_fields == ALIGNMENT


def test_layers_for_cams_are_those_of_the_paper():
    for name in NAMES:
        layer = "layer4" if "resnet" in name else "features"
        assert model_card(name).cam_layer == layer


def test_any_cnn_of_timm_is_a_model():
    card = model_card("timm:resnet10t")
    model = build_model(card, 7, Geometry(resize=64, crop=64), 4)
    with torch.no_grad():
        assert model.net(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    assert model.cam_layer == "layer4" and model.cam_grid == (4, 4) and model.name == "timm:resnet10t"
    assert model.notes == ("last stage dilated",) and "last map 4x4, last stage dilated" in model.label
    assert model_card("timm:xception41").mean == (0.5, 0.5, 0.5), "timm's own encoding"


@pytest.mark.parametrize("name", ["vit_base_patch16_224", "vit_small_patch16_224", "deit_small_patch16_224"])
def test_published_weights_of_transformers_are_those_of_timms_list(name):
    import timm

    card, config = model_card(name), timm.get_pretrained_cfg(name)
    assert (card.mean, card.std) == (config.mean, config.std) and config.license == card.plain.licence.lower()
    assert config.hf_hub_id.rstrip("/") in card.plain.url or card.plain.url == config.url


STAGES_OF = {
    "resnet10t": ("layer1", "layer2", "layer3", "layer4"),
    "efficientnet_b0": ("blocks.1", "blocks.2", "blocks.4", "blocks.6"),
    "vit_tiny_patch16_224": ("blocks.2", "blocks.5", "blocks.8", "blocks.11.norm1"),
}


@pytest.mark.process
@pytest.mark.parametrize("architecture", STAGES_OF)
def test_networks_of_timm_name_their_stages(architecture):
    import timm

    card = model_card(f"timm:{architecture}")
    assert card.stages == dict(zip(("Mid1", "Mid2", "Mid3", "Final"), STAGES_OF[architecture], strict=True))
    net = timm.create_model(architecture, num_classes=2).eval()
    sizes = [map_size(net, path, torch.zeros(1, 3, 224, 224)) for path in card.stages.values()]
    assert sizes == [(14, 14)] * 4 if "vit" in architecture else sizes == [(s, s) for s in (56, 28, 14, 7)]


@pytest.mark.process
@pytest.mark.parametrize(
    ("architecture", "stages"),
    [
        (  # all its maps have one size
            "convmixer_768_32",
            {"Mid1": "blocks.7", "Mid2": "blocks.15", "Mid3": "blocks.23", "Final": "blocks.31"},
        ),
        ("crossvit_tiny_240", {}),  # two branches
        ("hrnet_w18_small", {}),  # stages that are lists of maps
        ("mambaout_femto", {"Mid1": "stages.0", "Mid2": "stages.1", "Mid3": "stages.2", "Final": "stages.3"}),
        ("vit_small_patch16_18x2_224", {}),  # parallel blocks
    ],
)
def test_stages_that_are_no_maps_of_their_own_are_left_out(architecture, stages):
    assert model_card(f"timm:{architecture}").stages == stages


def test_every_small_transformer_has_the_stages_that_its_depth_says():
    """The rule for `timm:NAME` gives what the cards of the registry say."""
    for name in ("vit_base_patch16_224", "vit_small_patch16_224", "deit_small_patch16_224"):
        assert model_card(f"timm:{name}").stages == model_card(name).stages
    assert model_card("timm:test_vit").stages == model_card("vit_tiny_patch8_64").stages, "both have six blocks"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet51", "unknown model 'resnet51'; did you mean resnet50"),
        ("timm:resnet10x", "unknown timm model 'resnet10x'; did you mean resnet1"),
        ("timm:swin_tiny_patch4_window7_225", "did you mean swin_tiny_patch4_window7_224"),
        ("timm:resnet10t.c4_in1k", "timm has no tag 'c4_in1k' of resnet10t; its tags are c3_in1k"),
    ],
)
def test_names_that_are_no_model_are_refused(name, message):
    with pytest.raises(XaibenchError, match=message):
        model_card(name)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["skresnet18", "resnest14d", "seresnet18", "ghostnet_050"])
def test_convolutional_networks_of_timm_that_weigh_channels_are_taken(architecture):
    model = build_model(model_card(f"timm:{architecture}"), 10, Geometry(resize=64, crop=64), 4)
    assert min(model.cam_grid) >= 4


def test_images_are_encoded_by_mean_and_deviation():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 6, 3), dtype=np.uint8)
    encoding = Encoding((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    expected = (pixels / 255 - np.array(encoding.mean)) / np.array(encoding.std)
    np.testing.assert_allclose(encoding(pixels).numpy(), expected.transpose(0, 3, 1, 2), rtol=1e-4, atol=1e-6)
    assert encoding.zero.tolist() == [0, 0, 0]


# Weights -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(empty_home, make_net):
    """trained(name, alignment): a finished training of resnet18 on critters."""

    def make(name: str, alignment: dict | None, dataset: str = "critters", **key_fields):
        path = empty_home / "models" / name / "weights.safetensors"
        save_state(make_net(), path, {"model": "resnet18", "dataset": dataset, "alignment": alignment} | key_fields)
        return path

    return make


def found(choice: str, dataset: str = "critters", grid: int = 4, baseline: str = "zero", **settings):
    cards = model_card("resnet18"), registry.card("dataset", dataset)
    wanted = WeightsRequest(choice, Alignment(grid=grid, baseline=baseline, probability=0.3))
    return find_weights(*cards, wanted, settings.pop("download", False), **settings)


def test_weights_trained_here_are_found_by_what_they_are_aligned_with(trained):
    plain, aligned = trained("a", None), trained("b", ALIGNMENT)
    fine, blurred = trained("c", ALIGNMENT | {"grid": 8}), trained("d", ALIGNMENT | {"baseline": "blur"})
    trained("e", ALIGNMENT, "other")
    assert found("plain") == plain and found("aligned") == aligned
    assert found("aligned", grid=8) == fine and found("aligned", baseline="blur") == blurred
    assert found("aligned", grid=2) is None


def test_several_weights_that_fit_have_to_be_chosen_from(trained):
    paths = [trained("a", ALIGNMENT), trained("b", ALIGNMENT)]
    with pytest.raises(XaibenchError, match="several aligned weights fit; choose one by --weights") as caught:
        found("aligned")
    assert all(str(path) in str(caught.value) for path in paths)
    assert found(str(paths[1])) == paths[1]


def test_weights_that_a_task_made_are_found_by_their_path_alone(trained):
    guided, plain = trained("a", None, task={"name": "guided"}), trained("b", None)
    trained("c", ALIGNMENT, task={"name": "guided"})
    assert found("plain") == plain and found("aligned") is None and found(str(guided)) == guided


def test_weights_that_learnt_from_images_with_the_same_options_come_first(trained):
    data = registry.card("dataset", "critters")
    usual = data.parameters | data.train_parameters
    beaks = trained("a", None, train=usual | {"rule": "one:beak"})
    assert found("plain") == beaks, "there are no others"
    plain, dropped = trained("b", None, train=usual), trained("c", PARTS, train=usual | {"drop_parts": 0.2})
    assert found("plain") == plain and found("plain", options={"rule": "one:beak"}) == beaks
    with pytest.raises(XaibenchError, match="several plain weights fit"):
        found("plain", options={"rule": "one:tail"})
    trained("e", None, train=usual, seed=1)
    assert found("plain") == plain, "that of seed 0, as in a run"
    trained("d", PARTS, train=usual | {"drop_parts": 0.2, "rule": "one:beak"})
    wanted = WeightsRequest("aligned", Alignment(kind="parts", probability=0.5))
    assert find_weights(model_card("resnet18"), data, wanted, False) == dropped


def test_a_path_that_is_no_file_is_an_error(tmp_path):
    with pytest.raises(XaibenchError, match="is neither plain, nor aligned, nor self-aligned, nor a file"):
        found(str(tmp_path / "nowhere.pth"))


def test_published_weights_are_fetched_only_when_asked(empty_home, monkeypatch):
    asked = []

    def pretend(url, path, sha256):
        asked.append((url, sha256))
        return path

    monkeypatch.setattr("xaibench.models.published.fetch", pretend)
    assert found("plain", "imagenet") is None and found("aligned", "imagenet") is None and not asked
    path = found("plain", "imagenet", download=True)
    assert path == stored_at(asked[0][0]) and path.is_relative_to(empty_home / "downloads")
    assert asked == [("https://download.pytorch.org/models/resnet18-f37072fd.pth", "f37072fd")]
    assert found("aligned", "imagenet", download=True).name.startswith("resnet18_imagenet1000_lr0.001")
    assert found("plain", "critters", download=True) is None, "published for another data set"
    assert found("aligned", "imagenet", grid=8, download=True) is None, "published for another grid"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"fetched before")
    assert found("plain", "imagenet") == path


@pytest.mark.parametrize(
    ("choice", "dataset", "grid", "parts"),
    [
        ("aligned", "critters", 4, ["xaibench train patch-deletion --model resnet18 --dataset critters;"]),
        ("plain", "critters", 4, ["xaibench train classifier --model resnet18 --dataset critters;"]),
        (
            "aligned", "imagenet", 4,
            ["https://download.visinf", "patch-deletion --model resnet18 --dataset imagenet --data-root DIR;"],
        ),
        ("aligned", "imagenet", 8, ["--data-root DIR --grid 8 --baseline zero"]),
        ("plain", "imagenet", 4, ["https://download.pytorch.org/models/resnet18-f37072fd.pth", "--download"]),
    ],
)  # fmt: skip
def test_missing_weights_say_what_to_train_and_what_to_fetch(choice, dataset, grid, parts):
    wanted = WeightsRequest(choice, Alignment(grid=grid, baseline="zero", probability=0.5))
    error = missing_weights(model_card("resnet18"), registry.card("dataset", dataset), wanted)
    assert f"no {choice} weights of resnet18 on {dataset} here" in str(error) and "--weights PATH" in str(error)
    assert all(part in str(error) for part in parts)
    assert ("https://" in str(error)) == (dataset == "imagenet" and grid == 4)


@pytest.mark.process
def test_the_alignment_comes_from_the_header_or_from_the_published_name(tmp_path):
    card = model_card("resnet18")
    geometry = Geometry(resize=32, crop=32)
    model = build_model(card, 10, geometry)
    published = address(card.aligned)[0].rsplit("/", 1)[-1]
    for name, key_fields, expected in (
        ("mine.safetensors", {"alignment": ALIGNMENT | {"grid": 8}}, ALIGNMENT | {"grid": 8}),
        ("intact.safetensors", {"alignment": None}, None),
        ("stranger.pth", None, None),
        (published, None, ALIGNMENT),
    ):
        path = tmp_path / name
        if key_fields is None:
            torch.save({"state_dict": {f"module.model.{k}": v for k, v in model.net.state_dict().items()}}, path)
        else:
            save_state(model.net, path, key_fields)
        loaded = load_weights(build_model(card, 10, geometry), read_state(path), str(path), card)
        assert loaded.weights["alignment"] == expected
        assert loaded.weights["label"] == f"{'aligned ' if expected else ''}weights {name}"
        assert all(
            torch.equal(a, b)
            for a, b in zip(loaded.net.state_dict().values(), model.net.state_dict().values(), strict=True)
        )
