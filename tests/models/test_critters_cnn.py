"""The small networks for the embedded data: their size, their maps, and what each form promises."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from xaibench import registry
from xaibench.cards import Geometry
from xaibench.errors import XaibenchError
from xaibench.models import critters_cnn
from xaibench.models.open import build_model
from xaibench.models.passes import look

NAMES = ("critters_cnn", "x_critters_cnn", "bcos_critters_cnn")


def built(name):
    if name.startswith("bcos"):
        pytest.importorskip("bcos")
    torch.manual_seed(0)
    return build_model(registry.card("model", name), 10, Geometry(resize=64, crop=64), min_cam_grid=4)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("name", NAMES)
def test_stages_halve_the_map_to_eight_by_eight_and_weights_are_few(name):
    model = built(name)
    seen = [
        s for s in look(model.net, torch.rand(1, model.encoding.channels, 64, 64)) if s.path in model.stages.values()
    ]
    assert [s.path for s in seen] == list(model.stages.values()) and list(model.stages) == [
        "Mid1",
        "Mid2",
        "Mid3",
        "Final",
    ]
    assert [s.given[2:] for s in seen] == [(32, 32), (16, 16), (8, 8), (8, 8)]
    assert model.cam_grid == (8, 8) and model.cam_layer == model.stages["Final"] and not model.notes
    assert sum(p.numel() for p in model.net.parameters()) < 400_000
    assert sum(isinstance(m, nn.Conv2d) for m in model.net.features.modules()) == 7


def test_without_bias_and_normalisation_the_logits_scale_with_the_image(images):
    net = built("x_critters_cnn").net.double().eval()
    assert not any("bias" in name for name, _ in net.named_parameters())
    with torch.no_grad():
        torch.testing.assert_close(net(2.5 * (images - 0.5)), 2.5 * net(images - 0.5), rtol=1e-10, atol=1e-12)


def test_input_times_gradient_of_the_homogeneous_form_sums_to_the_logit(images):
    net, inputs = built("x_critters_cnn").net.double().eval(), (images - 0.5).requires_grad_(True)
    logits = net(inputs)[:, 3]
    (gradient,) = torch.autograd.grad(logits.sum(), inputs)
    torch.testing.assert_close((gradient * inputs).sum((1, 2, 3)), logits, rtol=1e-8, atol=1e-10)


def test_vanilla_does_not_scale(images):
    net = built("critters_cnn").net.double()
    net.train()(images)  # running statistics that are not those of initialisation
    net.eval()
    with torch.no_grad():
        assert (net(2 * images) - 2 * net(images)).abs().max() > 1e-3


def test_bcos_contributions_of_pixels_and_the_logit_bias_sum_to_the_logit(images):
    net = built("bcos_critters_cnn").net.double()
    seen = torch.cat([images, 1 - images], 1)
    with torch.no_grad():
        net.train()(seen)
    net.eval()
    for module in net.modules():
        if hasattr(module, "set_explanation_mode"):
            module.set_explanation_mode(True)
    seen.requires_grad_(True)
    logits = net(seen)[:, 2]
    (gradient,) = torch.autograd.grad(logits.sum(), seen)
    bias = net.logits.logit_bias
    assert bias == pytest.approx(-2.1972246)  # log(1 / 9)
    # the package adds 1e-6 under the root of a patch's norm, which is held too
    torch.testing.assert_close((gradient * seen).sum((1, 2, 3)) + bias, logits, rtol=1e-6, atol=1e-6)


def test_bcos_is_refused_for_one_class_and_without_its_packages(monkeypatch):
    with pytest.raises(XaibenchError, match="two or more classes, not 1"):
        critters_cnn.bcos(1)
    monkeypatch.setitem(sys.modules, "bcos.modules", None)
    with pytest.raises(XaibenchError, match=r"pip install 'xaibench\[bcos\]'"):
        critters_cnn.bcos(3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == "critters_cnn" else pytest.mark.process) for n in NAMES]
)
def test_a_few_steps_learn_two_images(name):
    model = built(name)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    seen, labels = model.encoding.of_pixels(images), torch.tensor([1, 7])
    optimizer = torch.optim.AdamW(model.net.parameters(), lr=3e-3)
    model.net.train()
    first = None
    for _ in range(30):
        loss = nn.functional.cross_entropy(model.net(seen), labels)
        first = first if first is not None else loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * first
