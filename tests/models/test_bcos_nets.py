"""B-cos networks: what is built, against the package's own networks and a layer by hand."""

from __future__ import annotations

import math
import sys

import pytest
import torch

from xaibench import registry
from xaibench.attribution.api import attribute
from xaibench.cards import Geometry
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding
from xaibench.models.bcos_nets import build, patch_norms
from xaibench.models.inputs import encoding_of
from xaibench.models.open import build_model
from xaibench.models.tokens import layout_of
from xaibench.training.guidance.attributions import guided_maps
from xaibench.training.guidance.localisation import find_loss

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier

pytest.importorskip("bcos")
pytest.importorskip("einops")

NAMES = {
    "bcos_resnet18": "resnet18",
    "bcos_resnet50": "resnet50",
    "bcos_densenet121": "densenet121",
    "bcos_vit_s": "simple_vit_s_patch16_224",
}
LARGE = ("bcos_resnet50", "bcos_densenet121")
SMALL = Geometry(resize=64, crop=64)


@pytest.fixture
def seen() -> torch.Tensor:
    """Two images of six channels, 64 x 64 pixels."""
    colours = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return torch.cat([colours, 1 - colours], 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.process if n in LARGE else ()) for n in NAMES])
def test_network_is_the_package_s_own_and_takes_the_names_of_its_weights(name, seen):
    from bcos.models import pretrained

    torch.manual_seed(0)
    reference = getattr(pretrained, NAMES[name])().train()  # for 1000 classes, as published
    for module in reference.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the statistics of these images, so that no map vanishes
    with torch.no_grad():
        for _ in range(2):
            reference(seen)
    reference.eval()
    ours = build_model(registry.card("model", name), 1000, SMALL).net
    ours.load_state_dict(reference.state_dict())
    with torch.no_grad():
        expected = reference(seen)
        assert expected.std(1).min() > 0.01
        torch.testing.assert_close(ours(seen), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_logit_bias_is_that_of_the_classes(name):
    from bcos.modules import LogitLayer

    net = build(5, NAMES[name])
    (layer,) = (m for m in net.modules() if isinstance(m, LogitLayer))
    assert layer.logit_bias == pytest.approx(math.log(1 / 4)) and layer.logit_temperature is None
    torch.testing.assert_close(layer(torch.zeros(1)), torch.tensor([-math.log(4)]))


def test_cards_say_how_images_are_seen():
    for name in NAMES:
        card = registry.card("model", name)
        assert (card.family, card.probability) == ("bcos", "sigmoid")
        assert encoding_of(card) == Encoding((0, 0, 0), (1, 1, 1), complement=True)
        assert card.plain.sha256 in card.plain.url and len(card.plain.sha256) == 10
    torch.testing.assert_close(encoding_of(card).zero, torch.tensor([0.0, 0, 0, 1, 1, 1]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "grid"),
    [("bcos_resnet18", 4), ("bcos_resnet18", 8), *(pytest.param(n, 4, marks=pytest.mark.process) for n in LARGE)],
)
def test_dilated_last_stage(name, grid, seen):
    card = registry.card("model", name)
    model = build_model(card, 5, SMALL, min_cam_grid=grid)
    assert model.cam_grid == (grid, grid) and "dilated" in model.notes[0]
    assert model.net(seen).shape == (2, 5)


def test_stages_and_layers():
    for name in NAMES:
        model = build_model(registry.card("model", name), 5, SMALL)
        assert model.cam_layer if name != "bcos_vit_s" else model.cam_layer == "0.transformer"  # whose mean is read
        assert list(model.stages) == ["Mid1", "Mid2", "Mid3", "Final"]


def test_tokens_of_the_transformer_lie_row_by_row(seen):
    net = build_model(registry.card("model", "bcos_vit_s"), 5, SMALL).net.eval()
    wide = torch.cat([seen, seen], 3)[:1]
    layout, embed = layout_of(net, (64, 128)), net.get_submodule("0.to_patch_embedding")
    assert (layout.prefix, layout.grid) == (0, (4, 8))
    with torch.no_grad():
        whole, cell = layout.to_map(embed(wide).flatten(1, 2)), embed(wide[..., 16:32, 80:96])
    torch.testing.assert_close(whole[0, :, 1, 5], cell[0, 0, 0])
    assert layout_of(build(5, "resnet18"), (64, 64)) is None


@pytest.mark.slow
@pytest.mark.parametrize("stage", [pytest.param("Mid2", marks=pytest.mark.process), "Final"])
def test_guidance_at_a_stage_of_the_transformer_reaches_every_parameter(stage, seen):
    torch.manual_seed(0)
    model = build_model(registry.card("model", "bcos_vit_s"), 5, SMALL)
    region = torch.zeros(2, 64, 64, dtype=torch.bool)
    region[:, 16:40, 8:32] = True
    targets = torch.tensor([1, 3])
    maps, logits = guided_maps(model, seen, targets, "b-cos", stage, (64, 64))
    (find_loss("energy")(maps, region).mean() + logits.square().mean()).backward()
    without = [name for name, p in model.net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not without and maps.abs().amax((1, 2)).min() > 0
    assert all(p.grad.isfinite().all() for p in model.net.parameters())
    explained = attribute(model, seen, targets, "b-cos", layer=stage)[:, 0]
    torch.testing.assert_close(maps.detach(), explained)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"), [(3, 1, 1, 1), (7, 2, 3, 1), (1, 2, 0, 1), (3, 1, 2, 2)]
)
def test_norms_of_patches_by_unfolding(kernel, stride, padding, dilation):
    convolution = torch.nn.Conv2d(4, 2, kernel, stride, padding, dilation)
    x = torch.randn(2, 4, 9, 9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    patches = torch.nn.functional.unfold(x, kernel, dilation, padding, stride)
    expected = (patches.square().sum(1) + 1e-6).sqrt()
    norms = patch_norms(x, convolution)
    torch.testing.assert_close(norms.flatten(2)[:, 0], expected)
    assert norms.shape[2:] == convolution.double()(x).shape[2:]


def test_norms_stay_exact_in_half_precision():
    convolution = torch.nn.Conv2d(4, 2, 3, 1, 1)
    x = torch.randn(2, 4, 9, 9, generator=torch.Generator().manual_seed(3)).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        norms = patch_norms(x, convolution)
    torch.testing.assert_close(norms, patch_norms(x.float(), convolution), rtol=1e-6, atol=0)


def test_two_classes_have_a_logit_bias_of_zero_and_one_is_refused(seen):
    assert build(2, "resnet18").eval()(seen).shape == (2, 2) and build(2, "resnet18").logit_layer.logit_bias == 0
    with pytest.raises(XaibenchError, match="two or more classes, not 1"):
        build(1, "resnet18")


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "bcos.models", None)
    with pytest.raises(XaibenchError, match=r"pip install 'xaibench\[bcos\]'"):
        build(5, "resnet18")


def test_sizes_that_have_no_whole_patches_are_refused():
    with pytest.raises(XaibenchError, match=r"model bcos_vit_s cannot take images of 72x72 pixels"):
        build_model(registry.card("model", "bcos_vit_s"), 5, Geometry(resize=72, crop=72))
