"""Networks of timm by name: tags, families, sizes, tokens; and those that cannot be explained."""

from __future__ import annotations

import pytest
import timm
import torch

import xaibench
from xaibench.cards import Geometry
from xaibench.cli.model_text import model_text, tokens_text
from xaibench.errors import XaibenchError
from xaibench.models.layouts import MapFinder
from xaibench.models.open import build_model, model_card
from xaibench.models.probe import default_cam_layer
from xaibench.models.timm_cnn import stages_of
from xaibench.models.tokens import has_branches


def test_a_tag_has_its_own_mean_and_deviation():
    clip = model_card("timm:vit_base_patch16_clip_224.openai")
    other = model_card("timm:vit_base_patch16_224.augreg_in21k_ft_in1k")
    assert clip.mean == tuple(timm.get_pretrained_cfg("vit_base_patch16_clip_224.openai").mean)
    assert other.mean == (0.5, 0.5, 0.5) != clip.mean
    assert other.parameters == {"architecture": "vit_base_patch16_224.augreg_in21k_ft_in1k"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("eva02_tiny_patch14_224", "vit"), ("vit_small_patch16_dinov3", "vit"),
        ("deit_tiny_patch16_224", "vit"), ("cait_xxs24_224", "cnn"), ("xcit_nano_12_p16_224", "cnn"),
        ("swin_tiny_patch4_window7_224", "cnn"), ("test_efficientnet", "cnn"),
    ],
)  # fmt: skip
def test_a_plain_transformer_is_one_whose_tokens_all_attend_to_each_other(name, family):
    assert model_card(f"timm:{name}").family == family


def test_stages_of_networks_with_windows_are_known_without_numbers():
    names = ("Mid1", "Mid2", "Mid3", "Final")
    for name, path, numbers in (
        ("swin_tiny_patch4_window7_224", "layers", "0123"),
        ("mixer_s32_224", "blocks", "1357"),
    ):
        assert stages_of(name, 224) == {k: f"{path}.{n}" for k, n in zip(names, numbers, strict=True)}


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("vit_small_patch14_reg4_dinov2", "1 class token, 4 register tokens, then 4 x 4 patches, row by row"),
        ("vit_base_patch16_reg4_gap_256", "4 register tokens, then 4 x 4 patches, row by row"),
        ("deit_tiny_distilled_patch16_224", "1 class token, 1 other token, then 4 x 4 patches, row by row"),
    ],
)
def test_registers_are_told_from_the_class_token(name, tokens):
    side = 56 if "patch14" in name else 64
    net = timm.create_model(name, img_size=side, depth=1, num_classes=3).eval()
    assert tokens_text(MapFinder(net, torch.zeros(1, 3, side, side)), "blocks.0.norm1", net) == tokens


@pytest.mark.process
def test_what_does_not_fit_is_left_out_with_the_reason():
    text = model_text(model_card("timm:test_efficientnet"), 64)
    lines = dict(line.split(": ", 1) for line in text.splitlines())
    left = next(line for key, line in lines.items() if key.startswith("left out"))
    assert "full-grad (needs logits that are the sum" in left and "this one has silu" in left
    assert lines["tokens"] == "none at the CAM layer, which gives maps"


@pytest.mark.parametrize(("name", "none"), [("crossvit_9_240", True), ("coat_mini", True), ("coat_lite_mini", False)])
def test_of_several_grids_that_the_head_reads_none_is_the_cam_layer(name, none):
    with torch.device("meta"):
        net = timm.create_model(name, num_classes=3).eval()
        image = torch.zeros(1, 3, 240, 240)
    assert has_branches(net) == none
    assert not none or default_cam_layer(net, image) == ""


@pytest.mark.parametrize("name", ["resnet18.", "resnet18.a1_in1k.x", "resnet18.A1_in1k"])
def test_a_tag_that_is_none_is_one_line(name):
    with pytest.raises(XaibenchError, match=r"timm has no tag .* of resnet18; its tags are a1_in1k") as caught:
        model_card(f"timm:{name}")
    assert "\n" not in str(caught.value)


def test_a_network_without_a_classifier_gives_no_logits():
    net = timm.create_model("test_efficientnet", num_classes=0).eval()
    image = torch.randn(1, 3, 64, 64)
    with pytest.raises(XaibenchError, match=r"EfficientNet of timm has no classifier \(num_classes=0\)"):
        xaibench.attribute(net, image, 0, "ixg")
    assert xaibench.attribute(net, image, 0, "ixg", output=lambda features: features).std() > 0
    maps = timm.create_model("test_efficientnet", features_only=True).eval()
    with pytest.raises(XaibenchError, match="returns list, not logits"):
        xaibench.attribute(maps, image, 0, "ixg")


def test_images_of_another_size_than_a_network_is_for_are_refused_in_one_line():
    with pytest.raises(XaibenchError, match=r"cannot take images of 64x64 .*--image-size 224") as caught:
        build_model(model_card("timm:swin_tiny_patch4_window7_224"), 10, Geometry(resize=64, crop=64))
    assert len(str(caught.value).splitlines()) == 1


def test_what_timm_cannot_build_is_one_line():
    card = model_card("timm:resnet18")
    card = card.model_copy(update={"parameters": card.parameters | {"no_such": 1}})
    with pytest.raises(XaibenchError, match="timm cannot build resnet18 for 10 classes"):
        build_model(card, 10, Geometry(resize=64, crop=64))
